-- One book of turns for everybody who asks the same language model: who may send when. All times are Redis's own, in
-- milliseconds. KEYS: turns (sorted set: id -> when it may send), tokens (hash: id -> tokens), state (hash).
-- ARGV: what to do, then its arguments. Every turn is later than all turns before it, so the newest ones tell all.

local turns, tokens, state = KEYS[1], KEYS[2], KEYS[3]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

local function drop(id)
  redis.call('ZREM', turns, id)
  redis.call('HDEL', tokens, id)
end

local function forget_before(moment)
  local old = redis.call('ZRANGEBYSCORE', turns, '-inf', whole(moment), 'LIMIT', 0, 1000)
  for _, id in ipairs(old) do
    drop(id)
  end
end

local function paused_until()
  return tonumber(redis.call('HGET', state, 'paused_until') or '0')
end

local function pause_until(moment)
  if moment > paused_until() then
    redis.call('HSET', state, 'paused_until', whole(moment))
  end
end

-- The moment until which the newest turns together hold more tokens than leave room for `wanted`.
local function tokens_free_at(wanted, most, window)
  local sum, first, chunk = math.min(wanted, most), 0, 200
  while true do
    local newest = redis.call('ZREVRANGE', turns, first, first + chunk - 1, 'WITHSCORES')
    if #newest == 0 then
      return 0
    end
    for index = 1, #newest, 2 do
      sum = sum + tonumber(redis.call('HGET', tokens, newest[index]) or '0')
      if sum > most then
        return tonumber(newest[index + 1]) + window + 1
      end
    end
    first = first + chunk
  end
end

-- take id tokens window most_requests most_tokens known_generation new_generation -> {milliseconds to wait, generation}
local function take(id, wanted, window, most_requests, most_tokens, known, new)
  local generation = redis.call('HGET', state, 'generation')
  if not generation then
    generation = new
    redis.call('HSET', state, 'generation', new, 'born', whole(now))
  end
  if known ~= '' and known ~= generation then
    -- The book that the caller knew is gone, and with it what was sent: nothing is for as long as that could count.
    pause_until(tonumber(redis.call('HGET', state, 'born')) + window)
  end
  forget_before(now - window)
  local at = math.max(now, paused_until())
  local last = redis.call('ZRANGE', turns, -1, -1, 'WITHSCORES')
  if #last > 0 then
    at = math.max(at, tonumber(last[2]))
  end
  if most_requests > 0 then
    local count = redis.call('ZCARD', turns)
    if count >= most_requests then
      local first = redis.call('ZRANGE', turns, count - most_requests, count - most_requests, 'WITHSCORES')
      at = math.max(at, tonumber(first[2]) + window + 1)
    end
  end
  if most_tokens > 0 then
    at = math.max(at, tokens_free_at(wanted, most_tokens, window))
  end
  redis.call('ZADD', turns, whole(at), id)
  redis.call('HSET', tokens, id, whole(wanted))
  local life = whole(at - now + 2 * window)
  redis.call('PEXPIRE', turns, life)
  redis.call('PEXPIRE', tokens, life)
  return {at - now, generation}
end

-- begin id tolerance -> 0 to send, more to wait so many milliseconds, -1 to take another turn
local function begin(id, tolerance)
  local at = redis.call('ZSCORE', turns, id)
  if not at then
    return -1
  end
  at = tonumber(at)
  if paused_until() > now or now - at > tolerance then
    drop(id)
    return -1
  end
  return math.max(0, at - now)
end

local what = ARGV[1]
if what == 'take' then
  return take(ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8])
elseif what == 'begin' then
  return begin(ARGV[2], tonumber(ARGV[3]))
elseif what == 'drop' then
  return drop(ARGV[2])
elseif what == 'settle' then
  if redis.call('ZSCORE', turns, ARGV[2]) then
    redis.call('HSET', tokens, ARGV[2], ARGV[3])
  end
elseif what == 'pause' then
  pause_until(now + tonumber(ARGV[2]))
end
return 0
