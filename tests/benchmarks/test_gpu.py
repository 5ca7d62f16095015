from benchmarks.gpu import main
from tests.builders.bundle import a_bundle


def test_the_script_for_a_card_runs_without_one_and_writes_its_table(tmp_path, capsys):
    flags = ("--device", "cpu", "--seconds", "0.02", "--clients", "2", "--out", str(tmp_path / "gpu.md"))
    main(["--bundle", str(a_bundle(tmp_path / "bundle")), *flags])
    table = (tmp_path / "gpu.md").read_text()
    assert table.startswith("no card (the CPU in its place), torch")
    assert "| bf16 | 2 |" in table
    assert capsys.readouterr().out == table
