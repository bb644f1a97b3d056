"""``mainstay migrate`` makes the database, once."""

from .conftest import Project


def test_it_makes_the_database_once_and_says_so(project: Project) -> None:
    check = project.quick("migrate", "--check")
    assert check.returncode == 1
    assert check.stdout.startswith("to do: inbox_")
    assert not (project.path / ".mainstay" / "mainstay.db").exists()
    assert project.run("migrate").stdout.startswith("done: inbox_")
    assert (project.path / ".mainstay" / "mainstay.db").exists()
    again = project.quick("migrate")
    assert (again.returncode, again.stdout) == (0, "the database is up to date\n")
    assert project.quick("migrate", "--check").returncode == 0
    assert project.quick("migrate", "--quiet").stdout == ""


def test_serve_without_a_database_names_the_command(project: Project) -> None:
    done = project.run("serve")
    assert done.returncode == 1
    assert "run `mainstay migrate`" in done.stderr
