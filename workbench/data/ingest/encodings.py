"""Guess the encoding of a text that is not UTF-8 from the frequencies of letters.

Every encoding that decodes the sample gets a log-likelihood: of its letters, by their frequencies in the languages that
use the encoding, and of pairs of neighbours (no capital after a small letter, no Greek letter next to a Latin one).
All candidates decode the same bytes, so the likelihoods are comparable. For the names and words of a few rows this is
right more often than general detectors, which are made for pages of prose.
"""

from __future__ import annotations

import codecs
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

__all__ = [
    "Guess",
    "guess_encoding",
    "is_broken_utf8",
    "joined_sample",
    "lines_beyond_ascii",
    "seven_bit",
    "utf16_without_mark",
]

SAMPLE_BYTES = 48 << 10
"""The bytes of lines beyond ASCII that are scored; every candidate must decode all of the lines."""
MAX_DIFFERENCE = 3.0
"""The difference of log-likelihoods up to which another encoding is named as an alternative."""

# ------------------------------------------------------------------------------------------------------------- scripts

LATIN = {
    "fr": "éèàêçôîûùâëïœÉÀÈÊÇÎÔæÂŒü",
    "de": "üäößÜÖÄéẞ",
    "es": "óíáéñúüÁÉÓÑÍÚçà¡¿",
    "pt": "ãçáéíóêúâôàõÁÉÓÍÃÇÂÚÊüÔÕ",
    "it": "àèéìòùÈÀÉ",
    "nordic": "åäöøæÅÄÖØÆéüÉ",
    "is": "áíðóæúþýéöÁÞÍÓÖÚÐÆÝÉ",
    "nl": "ëéïüèöóáÉ",
    "ca": "àéèíóòçúüïÀÉÈÍÓÒ·",
}
CENTRAL = {
    "pl": "łóążęśćźńŁŚŻÓĆŹĄĘŃ",
    "cs": "íáéýřčžěůšúťňóďŠČŽŘÚĎÍÁŤŇÝÉÓĚŮľĽĺŕôäĹŔÔ",
    "hu": "áéíóöőúüűÁÉÖŐÚÜÓŰÍ",
    "ro": "ăâîşţŞŢÎÂĂ",
    "hr": "čćžšđŠŽČĆĐ",
}
TURKISH = {"tr": "ıişğüçöİŞÇÜÖĞâîûÂ".replace("i", "")}
BALTIC = {
    "lt": "ėšžąįųūčęŠŽČĮĖŪĄŲĘ",
    "lv": "āīēšūņļžķģčĀĪĒŠŪŅĻŽĶĢČ",
    "et": "äõüöÄÕÜÖšž",
}
VIETNAMESE = {"vi": "àáâãèéêìíòóôõùúăđĩũơưĂĐƠƯÂÊÔÁÀÚÍ\u0300\u0301\u0303\u0309\u0323"}
CYRILLIC = {
    "ru": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
    "uk": "оаинвіртеслкдумпязьбгйчхжцюшєїщфґ",
    "bg": "аоиетнрсвлкдпмзгубячъжщцхшйфюь",
    "sr": "аоиенрсјтукдвлпмзгбчцшхжљђњћфџ",
}
GREEK = {"el": "αοιεστνηυρπκμλτωςίγόάδέήχύώθφβξζψϊϋΐΰ"}
HEBREW = {"he": "יוהלאתרבםשמנחדקןעפטגזצכסךףץ"}
ARABIC = {"ar": "اليمونرتبةعدسفحكقجأهشطصخإىضذزثءئغآظؤ", "fa": "اینرمدهتوبشسلکزفگخقعچجپحطصغضآژذثظئ"}
THAI = {"th": "านรกอเมงยลวดทสตะปบคัีหแจพช่้ไขใโผูิธซุ์็ศถำึฟณญษฝืภฐฉฮฏฆฎๆฬฌ฿ฒฺฯ๐๑๒๓๔๕๖๗๘๙"}
COMMON_SIGNS = "’“”–—…«»№°€£§©®·„‘±½²³µ×ºª\u00a0•™"
"""Signs that occur in any language, most frequent first. The letters of the languages above have the same order."""

HANZI = (
    "的一是了不在有人我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心"
    "多天而能好都然没日于起还发成事只作当想看文无开手用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但"
    "身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四"
    "第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市张王李刘陈杨赵黄周吴徐孙胡朱林何"
    "郭马罗梁宋郑谢韩唐冯董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范姚谭廖邹熊金陆郝孔白"
    "崔康毛邱秦江史顾侯邵孟龙段雷钱汤尹黎易常武乔贺赖龚伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛超霞刚桂男南京广州深圳区"
    "县省路号街镇村店品质量价格满意非常牛奶面包否有限司商河湖安福建浙云贵川陕甘青疆宁夏藏台湾香港澳门院校医银购买物"
)
HANZI_TRADITIONAL = (
    "的一是了不在有人我他這中大來上國個到說們為子和你地出道也時年得就那要下以生會自著去之過家學對可裡後小麼心"
    "多天而能好都然沒日於起還發成事只作當想看文無開手用主行方又如前所本見經頭面公同三已老從動兩長知民樣現分將外但"
    "身些與高意進把法此實回二理美點月明其種聲全工己話兒者向情部正名定女問力機給等幾很業最間新什打便位因重被走電四"
    "第門相次東政海口使教西再平真聽世氣信北少關並內加化由卻代軍產入先山五太水萬市張王李劉陳楊趙黃周吳徐孫胡朱林何"
    "郭馬羅梁宋鄭謝韓唐馮董蕭程曹袁鄧許傅沈曾彭呂蘇盧蔣蔡賈丁魏薛葉余潘杜戴夏鍾汪田任姜范姚譚廖鄒熊金陸郝孔白"
    "偉芳娜秀英敏靜麗強淑芬怡君志明雅婷美玲建宏俊傑臺北中南高雄新竹桃園縣區路號街鎮村店品質量價格滿意非常牛奶麵包"
    "否有限司商河湖安福香港院校醫銀購買物板橋灣男立豪宗翰佳穎欣宜惠雯琪"
)
KANJI = (
    "日一国人年大十二本中長出三時行見月後前生五間上東四今金九入学高円子外八六下来気小七山話女北午百書先名川千水"
    "半男西電校語土木聞食車何南万毎白天母火右読友左休父雨会同事自社発者地業方新場員立開手力問代明動京目通言理体田"
    "主題意不作用度強公持野以思家世多正安院心界教文元重近考画海売知道集別物使品計死特私始朝運終台広住無真有口少町"
    "料工建空急止送切転研足究楽起着店病質待試族銀早映親験英医仕去味写字答夜音注帰古歌買悪図週室歩風紙黒花春赤青館"
    "屋色走秋夏習駅洋旅服夕借曜飲肉貸堂鳥飯勉冬昼茶弟牛魚兄犬妹姉漢佐藤鈴橋渡辺伊村林斎松井清池阿部森石原岡島崎"
    "和隆健太郎美恵由裕直樹翔陽菜優府県市区郡阪都横浜神戸名札幌福岡埼玉葉茨城栃木群馬岐阜静愛媛香徳株式会社沢良商乳"
)
HANGUL = (
    "이다는을가의에고하은지를사로한기도어서인대자리시그나정아들수해일보만부라여주전스과상으원제장성었면있조구유동니"
    "비문치관게중국안경마공소물적습간양계오세신무연회선생까음했분발우진요트방르위영말모없내용것야된민화때당실입김박최"
    "강윤임권황송류홍철희숙준현훈미애순옥란빵남녀울산천광저포군읍면역삼평좋품맛같녕예별형재개러을할될명거또두십학교택"
    "월년금토목차점행업터통확배체번호데네올건담택락격달식노북식심"
)
KANA_RARE = "ゎゐゑヰヱヮヵヶゞ゛゜"
CJK_SIGNS = "、。，！？「」『』（）ー・～：；《》“”‘’【】—…　％＋－０１２３４５６７８９＆／％"


LANGUAGE_PRIORS = {"is": -2.5, "ca": -1.0, "et": -2.5, "lv": -0.5, "fa": -0.5, "sr": -0.5}
"""Log-priors of less frequent languages. These, and those of scripts and encodings, are estimates."""


@dataclass(frozen=True)
class Guess:
    """A guessed encoding.

    Attributes
    ----------
    encoding : str
    alternatives : tuple of str
        Encodings that are nearly as likely and give another text.
    broken_line : int
        The first line with invalid UTF-8 in a text that is UTF-8 otherwise; 0 for none.
    """

    encoding: str
    alternatives: tuple[str, ...] = ()
    broken_line: int = 0


@dataclass(frozen=True)
class _Script:
    """Encodings of a script: its letters by language, the kind of its words, and a log-prior."""

    encodings: tuple[str, ...]
    languages: Mapping[str, str]
    kind: str
    prior: float = 0.0


SCRIPTS = (
    _Script(("cp1252",), LATIN, "latin", 1.5),
    _Script(("cp1250", "iso8859-2"), CENTRAL, "latin", -0.5),
    _Script(("cp1254",), TURKISH, "latin", -0.5),
    _Script(("cp1257", "iso8859-13"), BALTIC, "latin", -2.0),
    _Script(("cp1258",), VIETNAMESE, "vietnamese", -2.0),
    _Script(("cp850", "mac-roman"), LATIN, "latin", -3.0),
    _Script(("cp852",), CENTRAL, "latin", -4.0),
    _Script(("cp1251",), CYRILLIC, "cased", 0.0),
    _Script(("koi8-r", "koi8-u", "cp866", "iso8859-5"), CYRILLIC, "cased", -1.5),
    _Script(("cp1253", "iso8859-7"), GREEK, "cased", -0.5),
    _Script(("cp1255",), HEBREW, "plain", -0.5),
    _Script(("cp1256", "iso8859-6"), ARABIC, "plain", -0.5),
    _Script(("cp874",), THAI, "plain", -0.5),
    _Script(("cp932", "euc_jp"), {}, "japanese", -0.5),
    _Script(("cp949",), {}, "korean", -0.5),
    _Script(("gb18030",), {}, "chinese", -0.5),
    _Script(("cp950", "big5hkscs"), {}, "traditional", -0.5),
)
PENALTIES = {
    "iso8859-2": 0.2,
    "iso8859-7": 0.2,
    "iso8859-6": 0.2,
    "iso8859-13": 0.2,
    "mac-roman": 1.0,
    "koi8-u": 0.2,
    "big5hkscs": 1.0,
    "iso8859-5": 0.5,
}
"""Log-penalties of encodings that are less frequent than the first one of their script."""


# ------------------------------------------------------------------------------------------------------------ guessing


def lines_beyond_ascii(data: bytes, *, is_cut: bool = False, begins_cut: bool = False) -> bytes:
    """Return the lines that are not ASCII, without an incomplete last (`is_cut`) or first (`begins_cut`) line."""
    lines = re.split(rb"[\r\n]+", data)
    is_one_incomplete_line = is_cut and len(lines) == 1
    last_line = lines.pop() if is_cut and not is_one_incomplete_line else b""
    if begins_cut and len(lines) > 1:
        lines.pop(0)
    # With the line end: an encoding in which it is a part of a character does not decode the lines.
    non_ascii_lines = b"".join(line + b"\n" * (not is_one_incomplete_line) for line in lines if not line.isascii())
    # An incomplete line is better than none.
    return non_ascii_lines or (last_line if not last_line.isascii() else b"")


def is_broken_utf8(sample: bytes) -> bool:
    r"""Tell whether a text is UTF-8 with a few invalid bytes: other encodings rarely have valid sequences by chance.

    Examples
    --------
    >>> is_broken_utf8("été, où, à".encode() + b"\xff"), is_broken_utf8("été, où, à".encode("cp1252"))
    (True, False)
    """
    text = sample.decode("utf-8", "replace")
    n_invalid = text.count("\ufffd") - sample.count("\ufffd".encode())
    n_beyond_ascii = len(text) - text.count("\ufffd") - sum(map(len, re.findall(r"[\x00-\x7f]+", text)))
    return n_invalid > 0 and n_beyond_ascii >= 2 and n_beyond_ascii >= 3 * n_invalid


def seven_bit(head: bytes) -> str | None:
    """Return "iso2022_jp" for a text that writes Japanese in ASCII bytes with escape sequences; else None."""
    return "iso2022_jp" if re.search(rb"\x1b\$[@B]", head) and head.isascii() else None


def utf16_without_mark(head: bytes) -> str | None:
    """Return the UTF-16 encoding of a text without a byte order mark; None where it is not UTF-16.

    Examples
    --------
    >>> utf16_without_mark("id,name".encode("utf-16-le")), utf16_without_mark(b"id,name")
    ('utf-16-le', None)
    """
    if b"\0" not in head[:4096]:
        return None
    data = head[:65536]
    high, low = data[1::2].count(0), data[0::2].count(0)
    pairs = max(1, len(data) // 2)
    # A single NUL may occur in any text. Headers mostly begin with ASCII.
    begins_with_ascii = [bool(b) for b in data[:4]] in ([True, False] * 2, [False, True] * 2)
    if max(high, low) < (0.1 if begins_with_ascii else 0.3) * pairs or max(high, low) < 2:
        return None
    encoding = "utf-16-le" if high > low else "utf-16-be"
    try:
        # The last character may be incomplete. Either byte of a character may be zero, but not both.
        text = codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else encoding


def guess_encoding(sample: bytes, *, prefer: str | None = None) -> Guess:
    """Guess the encoding of a text that is not UTF-8.

    Parameters
    ----------
    sample : bytes
        Lines of the text that are not ASCII; the last may be incomplete.
    prefer : str, optional
        The encoding of other files of the table, which this one probably has, too.
    """
    prefer = {"latin-1": "cp1252", "shift_jis": "cp932"}.get(prefer or "", prefer)
    if prefer in (None, "cp1252") and _has_signs_only(sample):
        return Guess(_usual_name("cp1252", sample, prefer))
    scored: list[tuple[float, str, str]] = []
    scored_bytes = _first_lines(sample)
    for script in SCRIPTS:
        for encoding in script.encodings:
            if not _decodes(sample, encoding):
                continue
            text = codecs.getincrementaldecoder(encoding)().decode(scored_bytes)
            score = _log_likelihood(text, script) + script.prior - PENALTIES.get(encoding, 0.0)
            scored.append((score + (6.0 if encoding == prefer else 0.0), encoding, text))
    if not scored:
        return Guess("latin-1")
    scored.sort(key=lambda s: -s[0])
    best_score, encoding, text = scored[0]
    alternatives = tuple(e for s, e, t in scored[1:] if best_score - s < MAX_DIFFERENCE and t != text)
    return Guess(_usual_name(encoding, sample, prefer), alternatives[:2])


_SIGNS = re.compile(
    r"""(?<=[A-Za-z])[’](?=[A-Za-z])          # it’s
    | (?<![A-Za-z])[“‘„«°§©®µ•–—±](?=[A-Za-z])  # “yes, 20 °C, 5 µg
    | (?<=[A-Za-z0-9.!?,)%])[”’»…™®](?![A-Za-z])
    | (?<![A-Za-z])[A-Zmrx][²³](?![A-Za-z])|(?<=[ckm]m)[²³](?![A-Za-z])|(?<=ft)[²³](?![A-Za-z])
    | (?<![A-Za-z])[€£°§©®·‘’“”„–—…«»±½²³\xa0•™](?![A-Za-z])
    | (?<=\d)[ºª](?![A-Za-z]) | (?<=[A-Za-z])[–—](?=[A-Za-z])""",
    re.VERBOSE,
)


def _has_signs_only(sample: bytes) -> bool:
    """Tell whether a text as cp1252 has only signs beyond ASCII, no letters, each in a usual position.

    Then no letters can indicate another encoding, and all encodings of Windows have these signs at the same bytes.
    """
    try:
        text = _first_lines(sample).decode("cp1252")
    except UnicodeDecodeError:
        return False
    n_non_ascii = len(re.findall(r"[^\x00-\x7f]", text))
    return 0 < n_non_ascii == len(_SIGNS.findall(text))


def _usual_name(encoding: str, sample: bytes, prefer: str | None) -> str:
    if encoding == "cp932":
        return "shift_jis"  # read as its superset
    if encoding == "cp1252" and prefer != "cp1252" and not re.search(rb"[\x80-\x9f]", sample):
        return "latin-1"
    return encoding


def _first_lines(sample: bytes) -> bytes:
    if len(sample) <= SAMPLE_BYTES:
        return sample
    end = sample.rfind(b"\n", 0, SAMPLE_BYTES)
    return sample[: end if end > 0 else SAMPLE_BYTES]


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        # Incremental, because the last character may be incomplete.
        codecs.getincrementaldecoder(encoding)().decode(sample)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


# ---------------------------------------------------------------------------------------------------------- likelihood


def _log_likelihood(text: str, script: _Script) -> float:
    """Return the log-likelihood of a text in the language of a script that fits it best."""
    letters = Counter(c for c in text if c > "\x7f")
    all_capitals = script.kind == "cased" and not any(c.islower() for c in letters)
    if all_capitals:
        # Scored like small letters, with a penalty below.
        letters = Counter(c.lower() for c in text if c > "\x7f")
    if script.kind in ("japanese", "korean", "chinese", "traditional"):
        # Half-width katakana hardly occur alone.
        n_alone = len(re.findall(r"(?<![\uff61-\uff9f])[\uff61-\uff9f](?![\uff61-\uff9f])", text))
        return _east_asian_log_likelihood(letters, script.kind, n_alone) + _mixing_penalty(text)
    pairs = Counter(zip(f"\n{text}", text, strict=False))
    log_likelihood = max(
        _letters_log_likelihood(letters, _frequencies(alphabet, script.kind)) + LANGUAGE_PRIORS.get(language, 0.0)
        for language, alphabet in script.languages.items()
    )
    log_likelihood -= 2.5 * all_capitals
    return log_likelihood + sum(
        n * _pair_log_likelihood(a, b, script.kind) for (a, b), n in pairs.items() if a > "\x7f" or b > "\x7f"
    )


@cache
def _frequencies(alphabet: str, kind: str) -> dict[str, float]:
    """Return log-frequencies of letters that are sorted by frequency, assuming an exponential decay, and of signs."""
    scale = max(1.5, len(alphabet) / 4.0)
    weights = {c: math.exp(-i / scale) for i, c in enumerate(dict.fromkeys(alphabet))}
    total = sum(weights.values())
    log_shares = {c: math.log(0.93 * max(w / total, 4e-4)) for c, w in weights.items()}
    if kind == "cased":
        # Capitals are half as frequent; their position is scored by the pairs.
        capitals = {
            c.upper(): v - 0.7 for c, v in log_shares.items() if len(c.upper()) == 1 and c.upper() not in log_shares
        }
        log_shares |= {c: v for c, v in capitals.items() if c > "\x7f"}
        log_shares |= {c: math.log(5e-3) for c in "ΆΈΉΊΌΎΏ"} if "α" in alphabet else {}
    signs = {c: math.log(0.02) - 0.12 * i for i, c in enumerate(COMMON_SIGNS) if c not in log_shares}
    return log_shares | signs


def _letters_log_likelihood(letters: Counter[str], frequencies: dict[str, float]) -> float:
    return sum(
        n * frequencies.get(c, _UNUSUAL_LETTER if c.isalpha() else _sign_log_probability(c)) for c, n in letters.items()
    )


_UNUSUAL_LETTER = math.log(3e-4)


def _sign_log_probability(char: str) -> float:
    if "\x80" <= char <= "\x9f":
        return math.log(1e-7)
    return math.log(2e-5) if "\u2500" <= char <= "\u25ff" else math.log(1e-4)


def _pair_log_likelihood(a: str, b: str, kind: str) -> float:  # noqa: PLR0911 one per fault
    """Return the log-likelihood of two neighbouring characters, given each of them: 0 or a penalty."""
    a_is, b_is = a.isalpha(), b.isalpha()
    if kind == "vietnamese":
        return 0.0 if a_is and b_is else -1.0 if b_is else 0.0
    if not (a_is and b_is):
        if a > "\x7f" and b > "\x7f":
            if kind != "latin" and b_is and a in "’”»…°·":
                return -3.0
            # Only quotes and similar signs are usually next to a letter.
            return (
                -0.5
                if a in COMMON_SIGNS or b in COMMON_SIGNS or not (a_is or b_is)
                else 0.0
                if kind == "plain"
                else -2.0
            )
        if kind == "latin" and (a.isdigit() or b.isdigit()) and (a_is or b_is):
            return -2.0
        return -1.5 if a.isalpha() and a.isascii() and not b_is and b not in COMMON_SIGNS and kind != "plain" else 0.0
    if kind == "latin":
        if a > "\x7f" and b > "\x7f":
            return -4.0 if a.islower() and b.isupper() else -2.5
        return -4.0 if a.islower() and b.isupper() else -1.0 if a.isupper() and b.isupper() else 0.0
    if a <= "\x7f" or b <= "\x7f":
        return -4.0
    if kind == "cased":
        return -5.0 if a.islower() and b.isupper() else 0.0
    return 0.0


def _mixing_penalty(text: str) -> float:
    """Return the penalty for East Asian characters next to Latin letters, or between two of them."""
    n_between = len(re.findall(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])", text))
    letter = r"[^\x00-\x7f\u3000-\u303f\uff00-\uff0f]"
    n_adjacent = len(re.findall(rf"[A-Za-z]{letter}|{letter}[A-Za-z]", text))
    return -2.0 * n_between - 1.5 * n_adjacent


@cache
def _rank_by_char(common: str) -> dict[str, int]:
    return {c: i for i, c in enumerate(dict.fromkeys(common))}


def _east_asian_log_likelihood(letters: Counter[str], kind: str, n_alone: int) -> float:
    char_score = {
        "japanese": _japanese_log_probability,
        "korean": _korean_log_probability,
        "chinese": _chinese_log_probability,
        "traditional": _traditional_log_probability,
    }[kind]
    log_likelihood = sum(n * char_score(c) for c, n in letters.items())
    if kind != "japanese":
        return log_likelihood
    # Texts that only have half-width katakana, a byte each, come from old systems such as those of banks.
    return (
        max(log_likelihood, sum(n * _half_width_log_probability(c) for c, n in letters.items()) - 1.0) - 3.0 * n_alone
    )


def _half_width_log_probability(char: str) -> float:
    if not "\uff61" <= char <= "\uff9f":
        return _japanese_log_probability(char) - 1.5
    return _HALF_WIDTH_RARE if char in "ｧｨｩｪｫｬｭｮｯ｡｢｣､･" else _HALF_WIDTH


_HALF_WIDTH = math.log(0.9 / 48)
_HALF_WIDTH_RARE = math.log(2e-3)


def _encodes(char: str, encoding: str) -> bytes:
    try:
        return char.encode(encoding)
    except UnicodeEncodeError:
        return b""


def _common_log_probability(char: str, common: str, total_share: float) -> float | None:
    """Return the log-probability of a character by its rank in `common`, None where it is not among these.

    `total_share` is the share of a text that the characters of `common` make up.
    """
    rank = _rank_by_char(common).get(char)
    if rank is None:
        return None
    n_common = len(_rank_by_char(common))
    return math.log(total_share * math.exp(-rank / (n_common * 0.8)) / (n_common * 0.57))


def _sign_or_latin_log_probability(char: str) -> float:
    if char in CJK_SIGNS:
        return math.log(0.006)
    return math.log(1e-4) if "\uff01" <= char <= "\uff5e" else math.log(2e-5)


@cache
def _japanese_log_probability(char: str) -> float:  # noqa: PLR0911 one per kind of letter
    """Return the log probability of a character in Japanese text."""
    if "\u3041" <= char <= "\u3096" or char in "ーっ":
        return math.log(0.4 / 75) if char not in KANA_RARE else math.log(2e-4)
    if "\u30a1" <= char <= "\u30fa":
        return math.log(0.2 / 80) if char not in KANA_RARE else math.log(2e-4)
    if "\uff66" <= char <= "\uff9f":
        # One byte each, while other characters have two.
        return math.log(0.35 / 63)
    common = _common_log_probability(char, KANJI, 0.28)
    if common is not None:
        return common
    code = _encodes(char, "euc_jp")
    if not code:
        return math.log(1e-7)
    if not "\u4e00" <= char <= "\u9fff":
        return _sign_or_latin_log_probability(char)
    return math.log(0.1 / 2600) if len(code) == 2 and code[0] < 0xD0 else math.log(2e-6)


@cache
def _korean_log_probability(char: str) -> float:
    """Return the log probability of a character in Korean text."""
    common = _common_log_probability(char, HANGUL, 0.75)
    if common is not None:
        return common
    if "\uac00" <= char <= "\ud7a3":
        return math.log(0.2 / 2100) if len(_encodes(char, "euc_kr")) == 2 else math.log(1e-6)
    if "\u3131" <= char <= "\u318e":
        return math.log(2e-4) if char in "ㅋㅎㅠㅜㅇㄱㄴㄷㄹㅁㅂㅅㅡㅏ" else math.log(1e-6)
    if "\u4e00" <= char <= "\u9fff" or "\uf900" <= char <= "\ufaff":
        return math.log(6e-7)
    return _sign_or_latin_log_probability(char)


def _is_kana(char: str) -> bool:
    return "\u3041" <= char <= "\u30fe"


@cache
def _chinese_log_probability(char: str) -> float:
    """Return the log probability of a character in simplified Chinese text."""
    common = _common_log_probability(char, HANZI, 0.68)
    if common is not None:
        return common
    code = _encodes(char, "gb2312")
    if _is_kana(char):
        return math.log(1e-6)
    if not "\u4e00" <= char <= "\u9fff":
        return _sign_or_latin_log_probability(char) if code else math.log(1e-7)
    if code:
        return math.log(0.22 / 3300) if code[0] < 0xD8 else math.log(0.03 / 3008)
    return math.log(2e-6)


@cache
def _traditional_log_probability(char: str) -> float:
    """Return the log probability of a character in traditional Chinese text."""
    common = _common_log_probability(char, HANZI_TRADITIONAL, 0.66)
    if common is not None:
        return common
    code = _encodes(char, "big5")
    if _is_kana(char):
        return math.log(1e-6)
    if not "\u4e00" <= char <= "\u9fff":
        return _sign_or_latin_log_probability(char) if code else math.log(1e-8)
    if code:
        return math.log(0.22 / 4800) if code[0] < 0xC9 else math.log(0.01 / 7652)
    return math.log(1e-7)


def joined_sample(samples: Iterable[bytes]) -> bytes:
    """Join samples of several files, shortened to equal shares of `SAMPLE_BYTES`."""
    all_samples = list(samples)
    max_bytes = max(4096, SAMPLE_BYTES // max(1, len(all_samples)))
    return b"\n".join(
        s if len(s) <= max_bytes else s[: max(s.rfind(b"\n", 0, max_bytes), 0) or max_bytes] for s in all_samples
    )
