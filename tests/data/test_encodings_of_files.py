"""Encodings of files that are not UTF-8: names and words of a few rows, large files, files that belong together."""

from __future__ import annotations

import random
import unicodedata

import polars as pl
import pytest

from tests.conversion import convert_files
from workbench.core.errors import DataError
from workbench.data.ingest.encodings import SAMPLE_BYTES, guess_encoding, lines_beyond_ascii
from workbench.features import ROW, hashed_ngrams, text_embeddings, text_forms

WORDS = {
    "cp1252": "élève|créé|Hélène|Schröder|Nürnberg|Fußball|León|pequeño|Jönköping|São João|coração|l’été|15 €",
    "cp1250": "Łódź|Białystok|Świętokrzyskie|książka|źródło|Wałęsa|piękny chłopiec|Częstochowa",
    "iso8859-2": "Plzeň|Dvořák|město|příliš žluťoučký kůň|Třebíč|děvče|Růžena",
    "cp1254": "Kırşehir|İstanbul|Yılmaz|ışık|dağ|Bağcılar|soğuk|güneş",
    "cp1251": "Москва|Сергей|Казань|яблоко|зелёный|Ростов-на-Дону|быстрая доставка|да|нет",
    "koi8-r": "Москва|Сергей|Казань|яблоко|зелёный|Ростов-на-Дону|быстрая доставка|да|нет",
    "cp866": "Москва|Сергей|Казань|яблоко|зелёный|Ростов-на-Дону|быстрая доставка|да|нет",
    "iso8859-5": "Москва|Сергей|Казань|яблоко|зелёный|Ростов-на-Дону|быстрая доставка|да|нет",
    "cp1253": "Αθήνα|Νικόλαος|Κρήτη|ψάρι|Κωνσταντίνος|Άγιος|νερό|Δημήτρης",
    "iso8859-7": "Αθήνα|Νικόλαος|Κρήτη|ψάρι|Κωνσταντίνος|Άγιος|νερό|Δημήτρης",
    "cp1255": "נתניה|אשדוד|רחל|ביצים|מים|אברהם|ראשון לציון",
    "cp1256": "بغداد|خالد|سارة|دمشق|ماء|يوسف|الدار البيضاء",
    "iso8859-6": "بغداد|خالد|سارة|دمشق|ماء|يوسف|الدار البيضاء",
    "cp874": "กรุงเทพ|นนทบุรี|มะม่วง|ข้าวผัด|วันจันทร์|สวัสดี",
    "cp949": "서울|정민호|사과|감사합니다|제주도|서초동|대한민국|좋은 상품입니다",
    "euc_kr": "서울|정민호|사과|감사합니다|제주도|서초동|대한민국|좋은 상품입니다",
    "gb18030": "北京|重庆|赵敏|苹果|谢谢|武汉市|质量很好|鸡蛋|广州市天河区",
    "cp950": "臺北|臺南|林志玲|蘋果|謝謝|嘉義|新北市板橋區|品質很好",
    "shift_jis": "東京|広島|中村さくら|すし|コーヒー|鹿児島|ありがたい|熊本県",
    "euc_jp": "東京|広島|中村さくら|すし|コーヒー|鹿児島|ありがたい|熊本県",
}


def table(encoding: str, rows: int, seed: int = 0) -> tuple[bytes, list[str]]:
    """Return a CSV of so many rows, each with a name among numbers and ASCII, and the names."""
    choice = random.Random(seed)
    names = [choice.choice(WORDS[encoding].split("|")) for _ in range(rows)]
    lines = [f"{i},{name},{choice.random():.3f},AB-{i % 7}" for i, name in enumerate(names)]
    return ("\n".join(["id,name,price,code", *lines]) + "\n").encode(encoding), names


@pytest.mark.parametrize("encoding", WORDS)
def test_a_dozen_rows_are_read_as_they_were_written(encoding: str) -> None:
    for seed in range(5):
        content, names = table(encoding, 12, seed)
        assert convert_files({"train.csv": content}).train["name"].to_list() == names


@pytest.mark.parametrize("encoding", ["cp949", "gb18030", "shift_jis", "cp950", "euc_jp", "koi8-r"])
@pytest.mark.parametrize("shift", [0, 1])
def test_a_large_file_is_not_decided_by_where_its_sample_is_cut(encoding: str, shift: int) -> None:
    content, names = table(encoding, 20_000)
    content = content.replace(b"id,name", b"id," + b"x" * shift + b"name", 1)
    assert len(content) > 8 * SAMPLE_BYTES
    frame = convert_files({"train.csv": content}).train
    assert frame.to_series(1).to_list() == names


@pytest.mark.parametrize("encoding", ["cp949", "gb18030", "shift_jis", "euc_jp"])
def test_a_long_line_that_is_cut_in_a_letter_is_decided_all_the_same(encoding: str) -> None:
    text = (WORDS[encoding].replace("|", "") * 50).encode(encoding)
    for cut in range(4):
        sample = lines_beyond_ascii(text[: len(text) - cut], is_cut=True)
        guess = guess_encoding(sample).encoding
        assert text[:40].decode(guess, "ignore")[:15] == text[:40].decode(encoding, "ignore")[:15]


@pytest.mark.parametrize(
    "word", ["élève", "Müller", "garçon", "Núñez", "João", "Malmö", "naïve", "ÉCOLE", "Île", "søster"]
)
def test_one_word_in_a_tiny_file(word: str) -> None:
    result = convert_files({"train.csv": f"id,name\n1,{word}\n2,plain\n".encode("latin-1")})
    assert result.train["name"].to_list() == [word, "plain"]
    assert any("not written in UTF-8, read as latin-1" in line for line in result.said)
    assert result.infos["train"].read[0].startswith('encoding = "latin-1"')


@pytest.mark.parametrize(
    "texts",
    [
        ["€ 5", "€ 6"],
        ["5 €", "6€"],
        ["it’s", "don’t – no"],
        ["said “hi” ok", "“yes”"],
        ["£20", "£5"],
        ["20 m²", "5 m²"],
        ["R² is 5", "10²"],
        ["20 µg", "5 µg"],
        ["20°C", "Acme™"],
        ["10\xa0000", "½"],
    ],
)
def test_a_few_signs_are_no_letters_of_another_script(texts: list[str]) -> None:
    rows = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
    assert convert_files({"train.csv": f"id,name\n{rows}".encode("cp1252")}).train["name"].to_list() == texts


@pytest.mark.parametrize("word", ["Michał", "50 zł", "Łódź"])
def test_a_letter_that_another_encoding_has_as_a_sign_stays_a_letter(word: str) -> None:
    assert convert_files({"train.csv": f"id,name\n1,{word}\n2,plain\n".encode("cp1250")}).train["name"][0] == word


@pytest.mark.parametrize("encoding", ["koi8-r", "cp1251", "cp866", "cp1253", "iso8859-7"])
def test_words_in_capitals_are_told_from_small_letters_of_another_script(encoding: str) -> None:
    is_greek = encoding in ("cp1253", "iso8859-7")
    words = ["ΑΘΗΝΑ", "ΘΕΣΣΑΛΟΝΙΚΗ", "ΠΑΤΡΑ"] if is_greek else ["МОСКВА", "КАЗАНЬ", "САНКТ-ПЕТЕРБУРГ"]
    rows = "".join(f"{i},{word}\n" for i, word in enumerate(words))
    assert convert_files({"train.csv": f"id,name\n{rows}".encode(encoding)}).train["name"].to_list() == words


def test_a_long_line_behind_the_header_is_decided_too() -> None:
    sample = lines_beyond_ascii(b"id,name\n1," + ("서울정민호사과" * 50).encode("cp949")[:-1], is_cut=True)
    assert guess_encoding(sample).encoding == "cp949"


@pytest.mark.parametrize("name", ["élève numéro", "北京市朝阳区", "Привет мир"])
@pytest.mark.parametrize("rows", [40, 220_000])
def test_a_broken_letter_does_not_make_another_encoding_of_utf8(name: str, rows: int) -> None:
    """In the beginning of a file, and where only a later block has it."""
    if rows > 1000 and not name.startswith("é"):
        pytest.skip("not a case: one large file is enough")
    content = "id,name\n" + "".join(f"{i},{name}\n" for i in range(rows))
    broken = content.encode().replace(f"{rows - 7},{name}".encode(), f"{rows - 7},".encode() + b"\xff" + name.encode())
    result = convert_files({"train.csv": broken})
    expected = [name] * rows
    expected[rows - 7] = f"\ufffd{name}"
    assert result.train["name"].to_list() == expected
    assert any(f"invalid bytes, the first in line {rows - 5:,};" in line for line in result.said)
    assert result.infos["train"].read[0].startswith('encoding = "utf-8"')
    with pytest.raises(DataError, match="some bytes are invalid in the encoding"):
        convert_files({"train.csv": broken}, read={"encoding": "utf-8"})


def test_what_may_be_another_encoding_is_told() -> None:
    """Three names of Hungary, with a letter that the other encoding reads as one of Estonia."""
    result = convert_files({"train.csv": "id,name\n1,Győr\n2,tű\n".encode("iso8859-2")})
    line = result.infos["train"].read[0]
    assert line == 'encoding = "cp1250"  # or cp1252'
    assert result.train["name"].to_list() == ["Győr", "tű"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "iso2022_jp"])
def test_unicode_without_a_mark_and_escapes(encoding: str) -> None:
    content = "id,name\n1,東京\n2,abc\n3,大阪府\n".encode(encoding)
    assert convert_files({"train.csv": content}).train["name"].to_list() == ["東京", "abc", "大阪府"]


def test_files_that_belong_together_agree() -> None:
    """A single short word is undecided by itself; beside train it is not."""
    train, names = table("koi8-r", 40)
    frames = convert_files({"train.csv": train, "test.csv": "id,name\n1,да\n".encode("koi8-r")}).frames
    assert frames["train"]["name"].to_list() == names
    assert frames["test"]["name"].to_list() == ["да"]
    parts = {"train_1.csv": train, "train_2.csv": "id,name,price,code\n9,нет,1.5,x\n".encode("koi8-r")}
    assert convert_files(parts | {"sample.csv": "id\n1\n"}).train["name"].to_list() == [*names, "нет"]


def test_each_part_is_read_in_its_own_encoding() -> None:
    first, names = table("cp1251", 60)
    second, more = table("koi8-r", 60, 1)
    assert convert_files({"train_1.csv": first, "train_2.csv": second, "s.csv": "id\n1\n"}).train["name"].to_list() == [
        *names,
        *more,
    ]


# -------------------------------------------------------------------------------------------------------------- words


def counts(texts: list[str]) -> list[tuple[int, ...]]:
    rows = pl.LazyFrame({ROW: range(len(texts)), "t": texts})
    return [row[1:] for row in hashed_ngrams(rows, "t", buckets=1 << 10).sort(ROW).collect().rows()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते दुनिया", 2),
        ("สวัสดี ครับ", 2),
        ("বাংলা ভাষা", 2),
        ("தமிழ் மொழி", 2),
        ("می‌خواهم کتاب", 2),
        ("cafe\u0301 ole\u0301", 2),
    ],
)
def test_marks_and_joiners_are_no_ends_of_words(text: str, words: int) -> None:
    rows = pl.LazyFrame({ROW: [0], "t": [text]})
    assert rows.select(text_forms(rows, "t", kinds="words")).collect().item() == words
    assert sum(counts([text])[0]) == words


def test_words_that_differ_in_a_mark_are_different() -> None:
    one, other = counts(["कि", "की"])
    assert one != other


def test_composed_and_decomposed_letters_are_the_same() -> None:
    text = "Élève à Győr, ёлка, 한국"
    one, other = counts([text, unicodedata.normalize("NFD", text)])
    assert one == other
    rows = pl.LazyFrame({ROW: range(4), "t": [text, unicodedata.normalize("NFD", text), "other words", "more"]})
    embedded = text_embeddings(rows, "t", n=2).sort(ROW).collect().drop(ROW).rows()
    assert embedded[0] == pytest.approx(embedded[1])
