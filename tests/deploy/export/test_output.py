"""An export appears whole or not at all, and what a killed one leaves does not stand in the way."""

import json
import os
from pathlib import Path

import pytest

from neonext_ms.deploy import export_model
from neonext_ms.deploy.export import output as module
from neonext_ms.deploy.export.folder import write_folder
from neonext_ms.deploy.export.output import check_output, publish, workplace
from neonext_ms.errors import UserError
from neonext_ms.files import rename

DESCRIPTION = {"format": 1, "file": {"name": "x.mindir"}, "verification": {}}


def export(folder, killed_at=None):
    """What `export_model` does with its files, in a process that ends without a word at a rename, if that is asked."""
    output = folder / "x.mindir"
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        done = []

        def counted(source, target):
            if len(done) == killed_at:
                os._exit(9)
            done.append(rename(source, target))

        module.rename = counted
        check_output(output)
        with workplace(output) as place:
            (place / "network.mindir").write_text("whole")
            if killed_at == "work":
                os._exit(9)
            publish(place / "network.mindir", output, DESCRIPTION)
            if killed_at == "end":
                os._exit(9)
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("moment", ["work", 0, 1])
def test_a_killed_export_is_made_again(tmp_path, moment):
    """Killed at work, before the card has its name, and between card and file."""
    assert export(tmp_path, moment) == 9
    assert not (tmp_path / "x.mindir").exists()
    assert (tmp_path / "x.mindir.json").exists() == (moment == 1)
    assert any(name.startswith(".x.mindir.") for name in os.listdir(tmp_path))
    assert export(tmp_path) == 0
    assert sorted(os.listdir(tmp_path)) == ["x.mindir", "x.mindir.json"]
    assert (tmp_path / "x.mindir").read_text() == "whole"
    assert json.loads((tmp_path / "x.mindir.json").read_text()) == DESCRIPTION
    with pytest.raises(UserError, match="x.mindir exists already"):
        check_output(tmp_path / "x.mindir")


def test_an_export_that_was_killed_when_it_was_done_leaves_nothing_for_good(tmp_path):
    assert export(tmp_path, "end") == 9
    assert len(os.listdir(tmp_path)) == 3
    with pytest.raises(UserError, match="x.mindir exists already"):
        check_output(tmp_path / "x.mindir")
    assert sorted(os.listdir(tmp_path)) == ["x.mindir", "x.mindir.json"]


@pytest.mark.parametrize(
    "text", ["mine", "{}", '{"format": 1, "file": {"name": "y.mindir"}, "verification": {}}', "[" * 100_000]
)
def test_only_its_own_card_is_replaced(tmp_path, text):
    (tmp_path / "x.mindir.json").write_text(text)
    with pytest.raises(UserError, match="x.mindir.json exists already"):
        check_output(tmp_path / "x.mindir")


def test_a_card_with_its_file_stays(tmp_path):
    (tmp_path / "x.mindir.json").write_text(json.dumps(DESCRIPTION))
    check_output(tmp_path / "x.mindir")
    (tmp_path / "x.mindir").symlink_to("nothing")  # of which exists() says no
    with pytest.raises(UserError, match="x.mindir exists already"):
        check_output(tmp_path / "x.mindir")


def test_another_export_at_work_keeps_its_folder(tmp_path):
    output = tmp_path / "x.mindir"
    with workplace(output) as first:
        (tmp_path / f"{first.name}-of the user").write_text("mine")
        with workplace(output) as second:
            assert first.exists() and second != first
        assert first.exists() and not second.exists()
    assert os.listdir(tmp_path) == [f"{first.name}-of the user"]


def test_a_file_that_cannot_get_its_name_leaves_no_card(tmp_path, monkeypatch):
    """As where the disk goes away between the two."""

    def once(source, target):
        if target.name == "x.mindir":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(module, "rename", once)
    with (
        pytest.raises(UserError, match="cannot write .*x.mindir .Input/output error"),
        workplace(tmp_path / "x.mindir") as place,
    ):
        (place / "network.mindir").write_text("whole")
        publish(place / "network.mindir", tmp_path / "x.mindir", DESCRIPTION)
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_permissions_takes_exports(checkpoint, tmp_path, monkeypatch):
    """SMB, exFAT, gcsfuse: there chmod fails."""

    chmod = os.chmod

    def refused_there(path, *arguments, **options):
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(1, "Operation not permitted")
        chmod(path, *arguments, **options)

    monkeypatch.setattr(os, "chmod", refused_there)
    export_model(checkpoint, tmp_path / "x.mindir")
    assert sorted(os.listdir(tmp_path)) == ["x.mindir", "x.mindir.json"]


@pytest.mark.parametrize("write, name", [(export_model, "x.mindir"), (write_folder, "x")])
def test_all_of_it_is_on_the_disk_before_it_gets_its_name(checkpoint, tmp_path, monkeypatch, write, name):
    fsync, replace, on_disk, early = os.fsync, os.replace, set(), []

    def sync(file):
        on_disk.add(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    def renamed(source, target):
        files = list(map(str, Path(source).iterdir())) if Path(source).is_dir() else [str(source)]
        early.extend(file for file in files if file not in on_disk)
        on_disk.add(str(target))
        on_disk.discard(str(tmp_path))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", renamed)
    write(checkpoint, tmp_path / name)
    assert early == [] and str(tmp_path) in on_disk, "and the name after it"
