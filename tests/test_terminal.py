"""The live line: redrawn on a terminal, kept elsewhere."""

import io
import logging
import re

import pytest

from neonext_ms.launch import screen
from neonext_ms.terminal import LIVE, PASSING, TerminalHandler, messages_shown, printable, say
from neonext_ms.training.trainer import train
from tests.support.tiny import TinyConfig


class Terminal(io.StringIO):
    def isatty(self):
        return True

    @property
    def screen(self):
        """The lines that a terminal would show."""
        lines = [""]
        for part in re.split(r"(\r\x1b\[K|\n)", self.getvalue()):
            if part == "\n":
                lines.append("")
            elif part.startswith("\r"):
                lines[-1] = ""
            else:
                lines[-1] += part
        return lines


@pytest.fixture
def log_to():
    def attach(stream):
        log = logging.Logger("test")
        log.addHandler(TerminalHandler(stream))
        return log

    return attach


def test_live_lines_replace_each_other_and_others_stay(log_to):
    terminal = Terminal()
    log = log_to(terminal)
    log.info("start")
    log.info("%d of a long line", 1, extra=LIVE)
    log.info("second", extra=PASSING)
    assert terminal.screen == ["start", "second"]
    log.warning("slow")
    log.info("third", extra=LIVE)
    assert terminal.screen == ["start", "slow", "third"]
    log.handlers[0].finish()
    log.handlers[0].finish()
    assert terminal.screen == ["start", "slow", "third", ""]
    log.info("done")
    assert terminal.screen == ["start", "slow", "third", "done", ""]


def test_a_live_line_never_wraps(log_to, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    log_to(terminal).info("x" * 50, extra=LIVE)
    assert terminal.screen == ["x" * 19]


def test_a_report_of_a_run_fits_into_80_columns(log_to, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    text = "epoch 1/12  step 22/22  loss 0.9564  accuracy 69.46 %  lr 1.00e-01  865 images/s  data wait 20 %  0:18 left"
    log_to(terminal).info(text, extra=LIVE)
    assert terminal.screen == ["1/12 22/22 loss 0.9564 acc 69.46% lr 1.00e-01 865/s wait 20% 0:18 left"]


def test_a_launcher_draws_the_live_lines_of_the_log_that_it_follows(monkeypatch, tmp_path):
    path, terminal = tmp_path / "worker_0.log", Terminal()
    with open(path, "w") as file:
        log = logging.Logger("test")
        log.addHandler(TerminalHandler(file, followed=True))
        log.info("start")
        log.info("first", extra=LIVE)
        log.info("second  accuracy 69.46 %", extra=LIVE)
    monkeypatch.setattr(screen, "SCREEN", TerminalHandler(terminal))
    follower = screen.Follower()
    follower.log = path
    follower.show()
    assert terminal.screen == ["start", "second acc 69.46%"]
    with open(path, "a") as file:
        file.write("evaluated\n")
    follower.show()
    assert terminal.screen == ["start", "evaluated", ""]


def test_elsewhere_every_line_is_a_line(log_to):
    file = io.StringIO()
    log = log_to(file)
    log.info("step 1", extra=LIVE)
    log.info("step 2", extra=LIVE)
    log.info("measuring", extra=PASSING)
    log.handlers[0].finish()
    assert file.getvalue() == "step 1\nstep 2\n"


def test_lines_that_stay_are_broken_between_words_on_a_terminal_and_nowhere_else(log_to, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    terminal, file = Terminal(), io.StringIO()
    text = "global batch 32 (1 x 32), lr 0.001; run folder /a/folder/with/a/long/name/that/is/one/word"
    log_to(terminal).info(text)
    assert terminal.screen == [
        "global batch 32 (1 x 32), lr",
        "  0.001; run folder",
        "  /a/folder/with/a/long/name/that/is/one/word",
        "",
    ]
    log_to(file).info(text)
    assert file.getvalue() == text + "\n"
    say(text)
    assert capsys.readouterr().out == text + "\n", "a pipe gets it as it is"


def test_names_in_messages_forge_no_lines():
    stream = io.StringIO()
    name = "two\nlines\x1b[2J\u202e"
    TerminalHandler(stream).emit(logging.LogRecord("neonext_ms", logging.INFO, "", 0, "read %s", (name,), None))
    assert stream.getvalue() == "read two\\nlines\\x1b[2J\\u202e\n"
    assert printable("caf\udce9", keep_bytes=False) == "caf\\udce9" and printable("caf\udce9") == "caf\udce9"


def test_every_line_of_a_run_fits_into_80_columns(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    terminal, log = Terminal(), logging.getLogger("neonext_ms")
    handler = TerminalHandler(terminal)
    monkeypatch.setattr(handler, "handleError", pytest.fail)
    log.addHandler(handler)
    caplog.set_level("INFO", "neonext_ms")
    try:
        train(TinyConfig(epochs=1, batch_size=256, eval_batch_size=180, num_workers=0, output_dir="run"))
    finally:
        log.removeHandler(handler)
    begun = ("digits: ", "global batch 256 (1 x 256)", "run folder run", "graphs compiled", "done in ")
    assert all(any(line.startswith(words) for line in terminal.screen) for words in begun), terminal.screen
    assert any("validation loss" in line for line in terminal.screen)
    assert max(map(len, terminal.screen)) <= 80


def test_messages_are_shown_where_no_logging_is_set_up(capsys, monkeypatch):
    """As train() shows its progress in a program that has said nothing of logging."""
    logger = logging.getLogger("neonext_ms")
    monkeypatch.setattr(logger, "propagate", False)
    with messages_shown():
        logging.getLogger("neonext_ms.training").info("epoch %d", 1)
        with messages_shown():
            logger.info("told once")
    logger.info("no more")
    assert capsys.readouterr().out == "epoch 1\ntold once\n" and logger.handlers == []
