"""Tables in Markdown, and their place in a file."""

import pytest

from neonext_ms.errors import UserError
from neonext_ms.markdown import replace_between_marks, table


def test_columns_stand_under_each_other():
    rows = [("name", "N"), ("a", "10"), ("longer", "2")]
    assert table(rows) == "| name   | N  |\n| ------ | -- |\n| a      | 10 |\n| longer | 2  |"
    assert table(rows, right=True) == "| name   |  N |\n| ------ | -: |\n| a      | 10 |\n| longer |  2 |"


def test_all_around_the_table_stays(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("above\n<!-- layers: begin -->\nold\n<!-- layers: end -->\nbelow\n")
    replace_between_marks(readme, "layers", "new")
    assert readme.read_text() == "above\n<!-- layers: begin -->\nnew\n<!-- layers: end -->\nbelow\n"
    with pytest.raises(UserError, match="no place for the data table: add the lines <!-- data: begin -->"):
        replace_between_marks(readme, "data", "new")
    assert "new" in readme.read_text()
    with pytest.raises(UserError, match="cannot read .*none.md: No such file"):
        replace_between_marks(tmp_path / "none.md", "data", "new")
