"""The command infer: what it prints, and what it does about bad files."""

import csv
import io
import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import open_source
from tests.support.cli import run


def bomb():
    """A PNG of 60 bytes whose header says 20,000 x 20,000 pixels."""
    chunks = [b"IHDR" + (20000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]), b"IDAT" + zlib.compress(b"")]
    data = [(len(c) - 4).to_bytes(4, "big") + c + zlib.crc32(c).to_bytes(4, "big") for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(data)


# What is reported for each of the files below: why it cannot be classified, or what is special about it.
BAD = {
    "truncated.jpg": "truncated",
    "bomb.png": "decompression bomb",
    "text.jpg": "not a format that Pillow knows",
    "empty.png": "not a format that Pillow knows",
    "folder.png": "Is a directory",
    "gone.png": "No such file",
    "link to nothing.png": "No such file",
    "pipe.png": "not a regular file",
}
ODD = {
    "animated.gif": "several frames",
    "cmyk.jpg": "CMYK",
    "one pixel.png": "only 1 x 1 pixels",
    "sixteen bits.png": "16 bits",
}
GOOD = ["a.png", "z.jpg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    image = Image.fromarray(open_source("digits", None, "val").image(3))
    image.save(folder / "a.png")
    image.save(folder / "z.jpg", quality=95)
    (folder / "truncated.jpg").write_bytes((folder / "z.jpg").read_bytes()[:600])
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    (folder / "link to nothing.png").symlink_to("nothing")
    os.mkfifo(folder / "pipe.png")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    image.save(folder / "animated.gif", save_all=True, append_images=[Image.new("RGB", image.size)])
    Image.new("RGB", (1, 1), "white").save(folder / "one pixel.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "sixteen bits.png")
    return folder


def test_each_bad_file_is_reported_and_the_others_are_classified(capsys, monkeypatch, exported, folder):
    names = [GOOD[0], *BAD, *ODD, GOOD[1]]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{folder / name}\n" for name in names)))
    code, out, err = run(capsys, "infer", "--model", exported[None][0], "--format", "jsonl", "-")
    assert code == 3
    assert err == "neonext: 8 of 14 images could not be classified\n"
    rows = {os.path.basename(row["image"]): row for row in map(json.loads, out.splitlines())}
    assert list(rows) == names
    for name, words in BAD.items():
        assert words in rows[name]["error"] and name in rows[name]["error"] and rows[name]["classes"] == [], name
    for name in (*GOOD, *ODD):
        assert rows[name]["error"] is None and len(rows[name]["classes"]) == 3, name
        assert (ODD.get(name) or "") in (rows[name]["note"] or ""), name
    assert rows["a.png"]["note"] is None
    # The same picture in other forms.
    for name in ("sixteen bits.png", "animated.gif", "z.jpg", "cmyk.jpg"):
        best, expected = rows[name]["classes"][0], rows["a.png"]["classes"][0]
        assert best["index"] == expected["index"] and abs(best["probability"] - expected["probability"]) < 0.02, name


def test_all_formats_say_the_same(capsys, exported, folder, tmp_path):
    files = [folder / "a.png", folder / "text.jpg", folder / "one pixel.png"]
    command = ["infer", "--model", exported[None][0], "--top_k", "2", *files]
    code, out, _ = run(capsys, *command, "--json")
    rows = json.loads(out)
    assert code == 3 and [row["image"] for row in rows] == [str(file) for file in files]
    code, out, err = run(capsys, *command, "--format", "jsonl", "--output", tmp_path / "rows.jsonl")
    assert code == 3 and out == ""
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == rows
    code, out, _ = run(capsys, *command, "--format", "csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert len(table) == 3
    for line, row in zip(table, rows):
        assert (line["image"], line["error"], line["note"]) == (row["image"], row["error"] or "", row["note"] or "")
        for rank, best in enumerate(row["classes"], 1):
            assert line[f"name_{rank}"] == best["name"]
            assert float(line[f"probability_{rank}"]) == pytest.approx(best["probability"], rel=1e-5)
    code, out, _ = run(capsys, *command)
    first, second, third = out.splitlines()
    best = rows[0]["classes"]
    assert first == f"{files[0]}: " + ", ".join(f"{b['name']} {100 * b['probability']:.1f} %" for b in best)
    assert second == f"{files[1]}: {rows[1]['error']}" and third.endswith("(only 1 x 1 pixels)")
    code, _, err = run(capsys, *command, "--output", tmp_path / "rows.jsonl")
    assert code == 2 and "exists already" in err
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_names_that_are_not_utf8_stay_what_they_are(exported, folder, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(name, "wb") as file:
        file.write((folder / "a.png").read_bytes())
    command = [sys.executable, "-m", "neonext_ms", "infer", "--model", exported[None][0], "-"]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as Python is under most locales, but for C
    printed = subprocess.run(command, input=name + b"\n", capture_output=True, env=strict)
    assert printed.returncode == 0 and printed.stdout.startswith(name + b": "), printed.stderr
    output = tmp_path / "rows.txt"
    written = subprocess.run([*command, "--output", output], input=name + b"\n", capture_output=True, env=strict)
    assert written.returncode == 0 and output.read_bytes() == printed.stdout, written.stderr


def test_nothing_is_wrong_with_odd_files_alone(capsys, exported_onnx, folder):
    code, out, err = run(capsys, "infer", "--model", exported_onnx[0], *(folder / name for name in ODD))
    assert (code, err) == (0, "") and len(out.splitlines()) == 4


FORGED = 'two\nlines\r\x1b[2Jmoved\u2028sep\u202eturned\x9b31m,=1+1"quoted.png'


def test_names_forge_neither_lines_nor_cells_nor_colours(capsys, exported, folder, tmp_path):
    for name in (FORGED, "=cmd()|x.png"):
        (tmp_path / name).write_bytes((folder / "a.png").read_bytes())
    (tmp_path / f"bad{FORGED}").write_text("no picture")
    command = ["infer", "--model", exported[None][0], tmp_path]
    code, out, _ = run(capsys, *command)
    assert code == 3 and len(out.splitlines()) == 3 and out.count("\n") == 3
    assert "two\\nlines\\r\\x1b[2Jmoved\\u2028sep\\u202eturned\\x9b31m" in out and out.isprintable() is False
    assert all(character.isprintable() for character in out.replace("\n", ""))
    _, out, _ = run(capsys, *command, "--format", "jsonl")
    assert [json.loads(line)["image"] for line in out.split("\n") if line] == sorted(map(str, tmp_path.iterdir()))
    _, out, _ = run(capsys, *command, "--format", "csv", "--output", tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == sorted(str(path) for path in tmp_path.iterdir() if path.suffix == ".png")
    assert all(FORGED in row["error"] for row in rows if "bad" in row["image"])


def test_files_passed_over_are_told_apart_from_the_results(exported, folder, tmp_path):
    (tmp_path / "a.png").write_bytes((folder / "a.png").read_bytes())
    (tmp_path / "notes.txt").touch()
    command = [sys.executable, "-m", "neonext_ms", "infer", "--model", exported[None][0], tmp_path, "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert [json.loads(line)["error"] for line in done.stdout.splitlines()] == [None]
    assert "1 file passed over: 1 x .txt" in done.stderr


def test_an_unreadable_validation_image_ends_neither_infer_nor_validate(capsys, exported, tmp_path):
    source = open_source("digits", None, "val")
    for split, name in ((split, str(number)) for split in ("train", "val") for number in range(10)):
        (tmp_path / split / name).mkdir(parents=True)
        for index in np.flatnonzero(source.labels == int(name))[:2]:
            Image.fromarray(source.image(index)).save(tmp_path / split / name / f"{index}.png")
    bad = next((tmp_path / "val" / "0").iterdir())
    bad.write_text("no picture")
    options = ["--model", exported[None][0], "--dataset", "folder", "--data_dir", tmp_path]
    code, out, err = run(capsys, "infer", *options, "--count", 20, "--top_k", 2, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 3 and err == "neonext: 1 of 20 images could not be classified\n"
    assert [row["image"] for row in rows if row["error"]] == [str(bad)] and all(row["label"] for row in rows)
    assert all(len(row["classes"]) == (0 if row["error"] else 2) for row in rows)
    code, out, _ = run(capsys, "validate", *options, "--num_workers", 0, "--json")
    result = json.loads(out)
    assert code == 0 and (result["images"], result["unreadable"]) == (19, 1)
    code, _, err = run(capsys, "validate", *options, "--num_workers", 0, "--max_bad_share", 0.04)
    assert code == 2 and "1 of the 20 samples of folder/val cannot be read, more than max_bad_share=0.04" in err
    opened = open_source("folder", tmp_path, "val")
    indices = [index for index, _ in opened.readable(20)]
    assert len(indices) == 20 and opened.paths.index(str(bad)) not in indices
