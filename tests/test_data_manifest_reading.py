"""annotations.csv, read line by line: what is understood, and what is named with file and line."""

import re
import time
import unicodedata

import pytest
from upath import UPath

from segkit.data.layout import Pair
from segkit.data.manifest import read_manifest, rows
from segkit.labels import LabelSpace

LABELS = LabelSpace(["background", "cell", "nucleus"])
CELL, ALL, NONE = [1, 1, 0], [1, 1, 1], [1, 0, 0]


def pairs_of(root, stems="abc", parts=("train", "val"), suffix=".png"):
    """Images that need not be there: only their names are looked at."""
    return {
        part: [Pair(s, root / part / "images" / (s + suffix), root / s, None, part) for s in stems]
        for part in parts
    }


def read(root, content, pairs=None, file="annotations.csv"):
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_manifest(root, pairs or pairs_of(root), LABELS)


def row(found, path):
    (match,) = [row for file, row in found.rows.items() if str(file).endswith(path)]
    return match


def test_no_file_no_manifest(tmp_path):
    assert read_manifest(tmp_path, pairs_of(tmp_path), LABELS) is None


def test_all_columns_are_read_and_others_left_alone(tmp_path):
    content = (
        "annotated,camera,weight,image,group,split\ncell,left,0.5,train/a,p1,val\n*,,,val/b,,\n"
    )
    found = read(tmp_path, content)
    assert found.problems == []
    assert found.columns == {"annotated", "weight", "group", "split"}
    assert found.files == (str(tmp_path / "annotations.csv"),)
    first, second = row(found, "train/images/a.png"), row(found, "val/images/b.png")
    assert first.annotated.tolist() == CELL and first[2:] == ("val", "p1", 0.5)
    assert second.annotated.tolist() == ALL and second[2:] == (None, None, 1.0)
    assert first.origin == f"{tmp_path / 'annotations.csv'}:2"
    with pytest.raises(ValueError, match="read-only"):
        first.annotated[0] = False


@pytest.mark.parametrize("column, cell", [("split", "val"), ("group", "p"), ("weight", "2")])
def test_one_column_beside_image_is_enough(tmp_path, column, cell):
    found = read(tmp_path, f"image,{column}\ntrain/a,{cell}\n")
    assert found.problems == [] and found.columns == {column}
    declared = row(found, "a.png")
    assert str(getattr(declared, column)).startswith(cell)
    assert [part is None for part in declared[1:]].count(False) == 1


def test_files_of_the_root_and_of_splits_go_together(tmp_path):
    (tmp_path / "annotations.csv").write_text("image,weight\nval/a,0\n")
    found = read(tmp_path, "image,annotated\na,cell\n", file="train/annotations.csv")
    assert found.problems == [] and len(found.files) == 2
    assert found.columns == {"annotated", "weight"}
    assert row(found, "train/images/a.png").annotated.tolist() == CELL
    assert row(found, "val/images/a.png")[1:] == (None, None, None, 0.0)


@pytest.mark.parametrize(
    "name",
    ["train/a", "train/a.png", "train/images/a", "train/images/a.png", "./train/a"]
    + ["train\\a", "train\\images\\a.png", " train/a ", '"train/a"'],
)
def test_ways_to_write_an_image(tmp_path, name):
    found = read(tmp_path, f"image,annotated\n{name},cell\n")
    assert found.problems == []
    assert row(found, "train/images/a.png").annotated.tolist() == CELL


@pytest.mark.parametrize("name", ["a", "a.png", "images/a", "./images/a.png"])
def test_without_splits(tmp_path, name):
    pairs = {"": pairs_of(tmp_path, parts=("",))[""]}
    found = read(tmp_path, f"image,annotated\n{name},\n", pairs)
    assert found.problems == []
    assert row(found, "a.png").annotated.tolist() == NONE


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfimage,annotated\ntrain/a,cell\n",  # byte order mark
        b"image,annotated\r\ntrain/a,cell\r\n",
        b"image,annotated\rtrain/a,cell\r",
        b"image,annotated\ntrain/a,cell",  # no line break at the end
        b"image,annotated\n\n,\ntrain/a,cell\n\n\n,\n , \n",
        b'"image","annotated"\n"train/a","cell"\n',
        b'image,annotated,note\ntrain/a,cell,"one,\ntwo ""three"""\n',
    ],
)
def test_files_of_all_kinds_of_programs(tmp_path, content):
    found = read(tmp_path, content)
    assert found.problems == [] and len(found.rows) == 1
    assert row(found, "train/images/a.png").annotated.tolist() == CELL


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_umlauts_of_macos_and_of_others_are_the_same(tmp_path, stored, written):
    stem = unicodedata.normalize(stored, "Gerät_ö")
    pairs = pairs_of(tmp_path, [stem, "日本"])
    content = (
        f"image,group\ntrain/{unicodedata.normalize(written, 'Gerät_ö')},Öl\ntrain/日本.png,x\n"
    )
    found = read(tmp_path, content, pairs)
    assert found.problems == []
    assert found.rows[pairs["train"][0].image].group == unicodedata.normalize("NFC", "Öl")
    assert found.rows[pairs["train"][1].image].group == "x"


def test_class_names_match_in_both_forms():
    labels = LabelSpace(["background", unicodedata.normalize("NFD", "Gefäß")])
    text = unicodedata.normalize("NFC", "Gefäß")
    assert rows.parse_annotated(text, labels, "x").tolist() == [True, True]


def test_manifests_on_other_machines(tmp_path):
    root = UPath("memory://segkit-manifest")
    found = read(root, "image,weight\ntrain/a,0.5\nz,1\n")
    assert row(found, "train/images/a.png").weight == 0.5
    assert "memory://segkit-manifest/annotations.csv:3: there is no" in found.problems[0].text


@pytest.mark.parametrize(
    "content, line, words",
    [
        ("image,annotated\na,cell\nb,cel\n", 3, "There is no class 'cel'.*cell, nucleus"),
        ("image,annotated\na,cell;\n", 2, "There is no class ''"),
        ("image,annotated\na,*;cell\n", 2, r"There is no class '\*'"),
        ("image,annotated\nz,*\n", 2, "there is no image 'z'.*for example 'a'"),
        ("image,annotated\n,*\n", 2, "there is no image ''"),
        ("image,annotated\nother/a,*\n", 2, "there is no image 'other/a'"),
        ("image,annotated\n../train/a.png,*\n", 2, r"'\.\./train/a.png' is an absolute.*stem.*'a'"),
        ("image,annotated\n/data/a.png,*\n", 2, "'/data/a.png' is an absolute path.*: 'a'"),
        ("image,annotated\nC:\\a.png,*\n", 2, "is an absolute path.*: 'a'"),
        ("image,annotated\ns3://b/a.png,*\n", 2, "is an absolute path.*: 'a'"),
        ("image,annotated\na,*\n\na.png,\n", 4, "'a.png' was already declared in .*csv:2. Keep"),
        ("image,annotated\na,*\na,*\n", 3, "'a' was already declared"),
        ("image,split\na,valid\n", 2, "split must be one of train, val, test.*Received: 'valid'"),
        ('image,weight\na,"0,5"\n', 2, "weight must be a number.*such as 0.5.*Received: '0,5'"),
        ("image,weight\na,nan\n", 2, "weight must be a number from 0 to 1,000.*Received: 'nan'"),
        ("image,weight\na,inf\n", 2, "weight must be a number from 0 to 1,000.*Received: 'inf'"),
        ("image,weight\na,-1\n", 2, "weight must be a number from 0 to 1,000.*Received: '-1'"),
        ("image,annotated\na\n", 2, "expected 2 cells.*Received: 1, 'a'"),
        ("image,annotated\na,cell,nucleus\n", 2, "expected 2 cells.*Received: 3.*quotation marks"),
        ("image;annotated\na;*\n", 1, "separated by commas. Received: semicolons.*Excel.*Save it"),
        ("image\tannotated\na\t*\n", 1, "separated by commas. Received: tabs"),
        ("", 1, "expected a header with the column image and at least one of.*Received: ''"),
        ("image,note\na,b\n", 1, "annotated, split, group, weight.*Received: 'image,note'"),
        ("image,split,split\na,val,val\n", 1, "each once.*Received: 'image,split,split'"),
        ('image,annotated\nb,*\na,"cell\nc,*\n', 3, "not a CSV file.*quotation mark missing"),
        ('image,annotated\na,"' + "x" * 200_000, 2, "not a CSV file.*field larger"),
        ('image,annotated\na,"cell"x\n', 2, "not a CSV file"),
        (b"image,annotated\nb,*\n\xe4,*\n", 3, "not a CSV file in UTF-8.*Save it.*'CSV UTF-8'"),
        ("image,annotated\na,*\n".encode("utf-16"), None, "it is UTF-16, Excel's 'Unicode text'"),
        ("image,annotated\na,*\n".encode("utf-16-le"), 1, "holds a NUL byte"),
        (b"image,annotated\na,*\nb,\0\n", 3, "holds a NUL byte"),
    ],
)
def test_mistakes_are_named_with_file_and_line(tmp_path, content, line, words):
    found = read(tmp_path, content, file="train/annotations.csv")
    (problem,) = found.problems
    path = str(tmp_path / "train/annotations.csv")
    start = f"{path}:{line}" if line else path
    assert problem.fatal and problem.kind == "annotations.csv"
    assert problem.text.startswith(start) and problem.path in (start, path)
    assert re.search(words, problem.text)


def test_every_mistake_is_heard_of_at_once(tmp_path):
    found = read(tmp_path, "image,annotated,weight\nz,*,\ntrain/a,cel,x\ntrain/b,cell,2\n")
    assert [problem.text.split(": ")[0][-1] for problem in found.problems] == ["2", "3", "3"]
    assert row(found, "b.png").weight == 2


def test_a_name_in_two_splits_needs_its_split(tmp_path):
    (problem,) = read(tmp_path, "image,annotated\na,*\n").problems
    assert "csv:2: 'a' may be any of " in problem.text
    assert "Write the split in front: train/a." in problem.text


def test_a_stem_that_is_another_files_name(tmp_path):
    pairs = {
        "": [Pair(s, tmp_path / f, tmp_path) for s, f in (("a", "a.png"), ("a.png", "a.png.tif"))]
    }
    (problem,) = read(tmp_path, "image,annotated\na.png,*\n", pairs).problems
    assert "may be any of " in problem.text and "whichever only one of them has" in problem.text
    assert read(tmp_path, "image,annotated\na,*\na.png.tif,*\n", pairs).problems == []


@pytest.mark.parametrize("column", ["Weight", "weights", "wieght", "groups", "Split"])
def test_a_column_that_is_likely_misspelt_is_mentioned(tmp_path, column):
    (problem,) = read(tmp_path, f"image,annotated,{column}\ntrain/a,*,1\n").problems
    assert not problem.fatal
    assert f"the column '{column}' is left alone. Is '" in problem.text


@pytest.mark.parametrize("column", ["patient", "Patient_ID", "videos", "series", "study id"])
def test_a_column_that_groups_is_asked_about(tmp_path, column):
    (problem,) = read(tmp_path, f"image,annotated,{column}\ntrain/a,*,1\n").problems
    assert not problem.fatal
    assert f"the column '{column}' is left alone. Is 'group' meant?" in problem.text
    assert not read(tmp_path, f"image,{column},group\ntrain/a,1,2\n").problems
    (problem,) = read(tmp_path, f"image,{column}\ntrain/a,1\n").problems
    assert problem.fatal and f"{column}'. '{column}': Is 'group' meant?" in problem.text


def test_other_columns_are_nobodys_business(tmp_path):
    assert not read(tmp_path, "image,annotated,scanner,weight_kg\ntrain/a,*,1,2\n").problems


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(f"No permission to read {path}.")

    monkeypatch.setattr("segkit.data.manifest.table.read_bytes", refuse)
    (problem,) = read(tmp_path, "image,annotated\n").problems
    assert problem.text == f"No permission to read {tmp_path / 'annotations.csv'}."


def test_a_million_lines_give_few_problems(tmp_path):
    lines = "".join(f"{i},*\n" for i in range(1_000_000))
    found = read(tmp_path, f"image,annotated\ntrain/a,*\n{lines}")
    assert len(found.rows) == 1 and len(found.problems) == 1001
    assert found.problems[-1].text == "and 999000 more problems of the kind: annotations.csv."


def test_time_grows_with_the_lines_and_no_faster(tmp_path, monkeypatch):
    calls = []
    parse = rows.parse_annotated
    monkeypatch.setattr(rows, "parse_annotated", lambda *a: calls.append(a) or parse(*a))

    def seconds(count):
        pairs = pairs_of(tmp_path, [f"im{i}" for i in range(count)], ["train"])
        lines = "".join(f"im{i},{'cell' if i % 2 else '*'},p{i}\n" for i in range(count))
        taken = []
        for _ in range(3):
            start = time.process_time()
            found = read(tmp_path, f"image,annotated,group\n{lines}", pairs)
            taken.append(time.process_time() - start)
            assert len(found.rows) == count and not found.problems
        return min(taken)

    few, many = seconds(1000), seconds(20_000)
    assert many < 20 * few * 5  # a quadratic reader: 400 times
    assert len(calls) == 2 * 6  # once a text and file, not once a line
