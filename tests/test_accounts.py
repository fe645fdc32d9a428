"""The accounts of a tracking server: where they are stored, and how they are made."""

import configparser
import stat
from pathlib import Path

import pytest

from pipeline.service.accounts import accounts_database, prepare_accounts


@pytest.mark.parametrize(
    ("store", "name"),
    [
        ("sqlite:////data/mlflow.db", "/data/mlflow.accounts.db"),
        ("sqlite:////data/other.db?timeout=5", "/data/other.accounts.db"),
        ("sqlite:////data/other.sqlite", "/data/other.sqlite.accounts.db"),
        ("sqlite+pysqlite:////50%25/mlflow.db", "/50%/mlflow.accounts.db"),
        ("postgresql://me:secret@10.0.0.5/team", "/build/postgresql-10.0.0.5-team.accounts.db"),
        ("postgresql://me:secret@10.0.0.5:5432/team", "/build/postgresql-10.0.0.5-team.accounts.db"),
        ("postgresql://me:secret@10.0.0.5:5433/team", "/build/postgresql-10.0.0.5-5433-team.accounts.db"),
        ("postgresql://10.0.0.5/team?port=5433", "/build/postgresql-10.0.0.5-5433-team.accounts.db"),
        ("postgresql://[::1]:5433/team", "/build/postgresql-%3A%3A1-5433-team.accounts.db"),
        ("postgresql:///team", "/build/postgresql-local-team.accounts.db"),
        ("postgresql+psycopg2:///team?host=/run/a", "/build/postgresql-%2Frun%2Fa-team.accounts.db"),
        ("postgresql://a-b/c", "/build/postgresql-a%2Db-c.accounts.db"),  # not as b-c on the host a
        ("mysql+pymysql://h/a/b", "/build/mysql-h-a%2Fb.accounts.db"),  # not as the database a_b
    ],
)
def test_each_store_has_accounts_of_its_own(store: str, name: str) -> None:
    assert accounts_database(store, Path("/build")) == Path(name)


@pytest.mark.parametrize(
    ("store", "early", "name"),
    [
        ("postgresql://a-b/c", "postgresql-a-b-c", "postgresql-a%2Db-c"),
        ("postgresql://h:5433/team", "postgresql-h-team", "postgresql-h-5433-team"),
        ("postgresql:///team?host=/run/a", "postgresql-local-team", "postgresql-%2Frun%2Fa-team"),
        ("mysql+pymysql://h/a/b", "mysql-h-a_b", "mysql-h-a%2Fb"),
        ("sqlite:///{build}/other.sqlite", "other", "other.sqlite"),
    ],
)
def test_accounts_under_their_former_name_are_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, store: str, early: str, name: str
) -> None:
    store = store.format(build=tmp_path)
    (tmp_path / f"{early}.accounts.db").touch()
    assert accounts_database(store, tmp_path) == tmp_path / f"{early}.accounts.db"
    assert f"{tmp_path}/{name}.accounts.db" in caplog.text
    caplog.clear()
    (tmp_path / f"{name}.accounts.db").touch()
    assert accounts_database(store, tmp_path) == tmp_path / f"{name}.accounts.db"
    assert not caplog.text


@pytest.mark.slow
def test_accounts_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    database = tmp_path / "100% ours" / "mlflow.accounts.db"
    database.parent.mkdir()
    (database.parent / f"{database.name}.new").write_text("what a killed process left")
    first = prepare_accounts(database, "long enough for all")
    assert prepare_accounts(database, "") == first
    config = configparser.ConfigParser()
    config.read(first["MLFLOW_AUTH_CONFIG_PATH"])
    assert config["mlflow"]["default_permission"] == "READ"
    store = SqlAlchemyStore()
    store.init_db(config["mlflow"]["database_uri"])  # type: ignore[no-untyped-call]
    assert store.authenticate_user("admin", "long enough for all")
    assert not store.authenticate_user("admin", "")
    assert {stat.S_IMODE(path.stat().st_mode) for path in database.parent.iterdir()} == {0o600}
