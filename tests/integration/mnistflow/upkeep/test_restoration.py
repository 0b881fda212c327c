"""A restoration beside the services of a checkout: none of them goes on with files that were replaced."""

from pathlib import Path

import pytest
import serving_kit as kit
from checkouts import Checkout, write_params
from cluster import free_port, wait_for_port
from waiting import wait_until

from mnistflow.checkout import service_lock
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths

pytestmark = pytest.mark.slow

NAME = "digits-classifier"


@pytest.fixture
def served(checkout: Checkout) -> Checkout:
    """A checkout with a champion that was published without a registry."""
    models = checkout.folder / "var/models"
    write_params(checkout, **{"fetch.dataset": "digits"})
    images, labels = kit.digits()
    kit.publish(models, 1, kit.fit_network(images, labels), images, name=NAME, dataset="digits")
    kit.set_champion(models, 1, NAME)
    return checkout


def is_locked(checkout: Checkout) -> bool:
    try:
        with service_lock.exclusive(Paths(checkout.folder, checkout.folder)):
            return False
    except MnistflowError:
        return True


def restore(checkout: Checkout, archive: Path) -> str:
    return checkout.run("restore", str(archive), "--replace", check=False).stderr


@pytest.mark.parametrize("command", [("serve",), ("serve", "--follow"), ("follow",), ("ui",)], ids=" ".join)
def test_var_is_not_replaced_while_a_service_runs(served: Checkout, tmp_path: Path, command: tuple[str, ...]) -> None:
    archive = tmp_path / "backup.tar.gz"
    served.run("backup", str(archive))
    (served.folder / "var/own").touch()
    port = () if command == ("follow",) else ("--port", str(free_port()))
    service = served.start(*command, *port)
    wait_until(lambda: is_locked(served), service)
    if port and "ui" not in command:
        wait_for_port(int(port[1]), service)
    assert f"is running in {served.folder}. Stop that process first." in restore(served, archive)
    assert (served.folder / "var/own").exists()
    service.terminate()
    service.communicate()
    assert restore(served, archive) == ""
    assert not (served.folder / "var/own").exists()
