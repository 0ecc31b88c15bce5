// Keeps what was dropped until the service has it, over a reload too: in the browser's database, or else in memory.
//
// An upload: { id, name, key, total, pictures, kept, options, batchId, taken, cancelled, refused: [{ name, message, files }],
// streams: [image id], isClosed }; `pictures` of the `total` files are no streams. A file: { number, uploadId, name, key,
// content }. Each has its Idempotency-Key, so sending it twice is taking it once.

const FILES_AT_ONCE = 10;

export const isStream = (name) => name.toLowerCase().endsWith(".misc");

export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

class DatabaseStore {
  constructor(database) { this.database = database; }

  static async open() {
    const request = indexedDB.open("misc-uploads", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("uploads", { keyPath: "id" });
      const files = request.result.createObjectStore("files", { keyPath: "number", autoIncrement: true });
      files.createIndex("uploadId", "uploadId");
    };
    return new DatabaseStore(await done(request));
  }

  // Runs `act` in one transaction over both stores: all of it is kept, or nothing.
  change(act) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction(["uploads", "files"], "readwrite");
      act(transaction.objectStore("uploads"), transaction.objectStore("files"));
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
  }

  uploads() { return done(this.database.transaction("uploads").objectStore("uploads").getAll()); }

  files(uploadId, most) {
    return done(this.database.transaction("files").objectStore("files").index("uploadId").getAll(uploadId, most));
  }

  add(upload, files) {
    return this.change((uploads, kept) => {
      uploads.put(upload);
      for (const file of files) kept.add(file);
    });
  }

  save(upload) { return this.change((uploads) => uploads.put(upload)); }

  // The file needs no keeping any more; what became of it is part of the upload.
  settle(upload, file) {
    return this.change((uploads, files) => {
      uploads.put(upload);
      files.delete(file.number);
    });
  }

  forget(upload) {
    return this.change((uploads, files) => {
      uploads.delete(upload.id);
      files.index("uploadId").getAllKeys(upload.id).onsuccess = (event) => event.target.result.forEach((key) => files.delete(key));
    });
  }
}

class MemoryStore {
  constructor() { this.kept = []; this.known = new Map(); this.numbers = 0; }
  async uploads() { return [...this.known.values()]; }
  async files(uploadId, most) { return this.kept.filter((file) => file.uploadId === uploadId).slice(0, most); }
  async add(upload, files) {
    this.known.set(upload.id, upload);
    this.kept.push(...files.map((file) => ({ ...file, number: ++this.numbers })));
  }
  async save(upload) { this.known.set(upload.id, upload); }
  async settle(upload, file) { this.kept = this.kept.filter((other) => other.number !== file.number); }
  async forget(upload) { this.known.delete(upload.id); this.kept = this.kept.filter((file) => file.uploadId !== upload.id); }
}

let opened = null;
export function store() {
  opened ??= DatabaseStore.open().catch(() => {
    // A private window may have none: then only a page that stays open loses nothing.
    const memory = new MemoryStore();
    addEventListener("beforeunload", (event) => { if (memory.kept.length > 0) event.preventDefault(); });
    return memory;
  });
  return opened;
}

// Keeps an upload and its files, in pieces, so that the first are sent while the last are still copied.
export async function keep(files, options, onPiece) {
  const id = newKey();
  const name = files.length === 1 ? files[0].name : `${files[0].name} and ${files.length - 1} more`;
  const pictures = files.filter((file) => !isStream(file.name)).length;
  const upload = { id, name, key: newKey(), total: files.length, pictures, kept: 0, options, batchId: null, taken: 0, cancelled: 0, refused: [], streams: [], isClosed: false };
  const kept = await store();
  for (let start = 0; start < files.length; start += FILES_AT_ONCE) {
    const piece = files.slice(start, start + FILES_AT_ONCE);
    upload.kept += piece.length;
    await kept.add(upload, piece.map((file) => ({ uploadId: id, name: file.name, key: newKey(), content: file })));
    onPiece(upload);
  }
  return upload;
}
