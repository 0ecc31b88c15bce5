"""How models say that they see no picture, because a server dropped it on its way or the model reads texts only.

Nobody says so of a picture that he sees: each pattern names the one who speaks, or the picture as a thing sent.
"""

import re

_PICTURE = r"(?:images?|pictures?|photos?|photographs?)"
_SENT = r"(?:provided|attached|uploaded|included|supplied|received|given|shared|sent|embedded)"
_NOT = r"(?: not|n['’]t)"
_SPEAKER_SEES_NOTHING = (
    rf"\b(?:(?:i|we) (?:(?:do|can|ca|could|did|am|are|was|were|have)?{_NOT}|cannot|(?:am|are) unable to|have yet to)"
    r"|i['’]m (?:unable to|not))"
    r"(?: able to)? (?:actually |currently |directly |physically )?"
    r"(?:see|seen|view|receive|received|detect|find|access|open|process|analy[sz]e)"
    rf"(?: any| an| the| a| your| that| this)?(?: \w+)? (?:{_PICTURE}|attachments?)"
)
_NOTHING_WAS_SENT = (
    rf"\bno {_PICTURE} (?:was|were|is|has been|have been|appears to be|seems to be) (?:actually )?{_SENT}",
    rf"\bno (?:{_PICTURE}|visual|image) (?:input|content|data|file|attachment)s? (?:was|were|is|are|could|has|have)\b",
    rf"\bthere (?:is|was) no {_PICTURE} (?:to |in your|in this (?:message|conversation)|{_SENT})",
    rf"\bthere (?:does|did|is|was){_NOT} (?:appear|seem)?(?: to be)? ?(?:an|any|a) {_PICTURE} (?:in|{_SENT})",
    rf"\b{_PICTURE} (?:was|is|has|were|have|does){_NOT} (?:been )?(?:{_SENT}|visible to me|available to me|accessible)",
    rf"\b{_PICTURE} (?:data )?(?:did{_NOT}|failed to|could not|couldn['’]t|cannot) "
    r"(?:be )?(?:load|loaded|come through|upload|arrive|decoded?|opened|displayed|processed)",
    rf"\b{_PICTURE} (?:seems?|appears?) to be (?:blank or )?missing",
    rf"\b(?:you|the user) (?:have|has|did){_NOT} (?:yet )?(?:provided?|attach(?:ed)?|upload(?:ed)?|shared?|sent|send) "
    rf"(?:an|any|a|the) {_PICTURE}",
    r"\b(?:please|could you|can you) (?:try to )?(?:re-?)?(?:provide|upload|attach|share|send|supply) (?:me )?"
    rf"(?:with )?(?:the|an|a|your) {_PICTURE}",
)
_READS_TEXTS_ONLY = (
    r"\b(?:i am|i['’]m|as) an? text[- ](?:only|based)\b",
    rf"\bno access to (?:the |any |your )?{_PICTURE}",
    rf"\bwithout (?:an|the|any) {_PICTURE},? (?:i|we)\b",
)
_IN_OTHER_LANGUAGES = (
    r"\bkein(?:e|en)? (?:bild|foto|bilder) (?:vorhanden|erhalten|angehängt|hochgeladen|sehen|übermittelt|gesendet)",
    r"\bich (?:kann|sehe) (?:leider )?(?:kein|das) (?:bild|foto)",
    r"\baucune (?:image|photo) (?:n['’]a|n['’]est|fournie|jointe|visible|reçue)",
    r"\bje ne (?:vois|peux pas voir) (?:pas |aucune )?(?:d['’]|l['’]|une )?(?:image|photo)",
    r"\bno (?:veo|puedo ver|hay) (?:ninguna|una|la) (?:imagen|foto)",
    r"\bnon (?:vedo|c['’]è|posso vedere) (?:nessuna|alcuna|l['’]|un['’])\s?immagine",
    r"\bnão (?:vejo|há|consigo ver) (?:nenhuma|uma|a) imagem",
    r"(?:没有|未)(?:看到|收到|提供|上传|检测到)?.{0,6}(?:图片|图像|照片)|无法(?:看到|查看|访问).{0,6}(?:图片|图像|照片)",
    r"画像が(?:見え|見当たり|添付されてい|提供されてい)ま?せん|画像を(?:見る|確認する)ことができません",
)
_SEES_NOTHING = re.compile(
    "|".join((_SPEAKER_SEES_NOTHING, *_NOTHING_WAS_SENT, *_READS_TEXTS_ONLY, *_IN_OTHER_LANGUAGES)), re.IGNORECASE
)


def sees_nothing(text: str) -> bool:
    """Whether a text says that there was no picture to describe."""
    return _SEES_NOTHING.search(text) is not None
