"""What the README shows is what the code takes."""

import re
from pathlib import Path

from codec.captions import load_captions

README = (Path(__file__).parents[3] / "README.md").read_text()


def test_captions_of_the_readme_are_read(tmp_path: Path) -> None:
    plain_table, whole_table = re.findall(r"```csv\n(.*?)```", README, re.DOTALL)
    (tmp_path / "plain.csv").write_text(plain_table)
    (tmp_path / "whole.csv").write_text(whole_table)
    plain = load_captions(tmp_path / "plain.csv").lookup("harbour.jpg")
    whole = load_captions(tmp_path / "whole.csv").lookup("kodim23.jpg")
    assert plain.items == () and plain.overall.startswith("Fishing boats at a quay")
    assert [item.name for item in whole.items] == ["red parrot", "blue parrot", "leaves"]
    assert whole.items[2].detail == "Large green leaves behind them"
    assert whole.overall.startswith("Two parrots")
