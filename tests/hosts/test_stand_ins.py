"""The stand-ins of `support.hosts`: they serve an import, and nothing after it."""

import sys
import textwrap

import pytest
import torch
from support import hosts

HOST = """
    import torch
    from absent_library import nothing
    from absent_library.of_names import decorator, kind
    torch._dynamo.config.suppress_errors = True

    @decorator(kind.one)
    def kernel(x: kind(2) | None):
        return x

    class Model(nothing.Base):
        def run(self):
            return nothing.run(self)
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    (tmp_path / "lacking_host.py").write_text(textwrap.dedent(HOST))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(hosts.ABSENT, "lacking_host", ["absent_library", "math"])
    yield hosts.load("lacking_host")
    del sys.modules["lacking_host"]


def test_what_is_absent_serves_the_import_and_raises_after_it(host):
    assert host.Model.__mro__ == (host.Model, object)
    for use in (host.Model().run, lambda: host.kernel(1)):
        with pytest.raises(RuntimeError, match=r"absent_library.*not installed"):
            use()


def test_nothing_of_it_stays(host):
    assert not [name for name in sys.modules if name.startswith("absent_library")]
    assert not torch._dynamo.config.suppress_errors
    with pytest.raises(ModuleNotFoundError):
        import absent_library  # noqa: F401


def test_what_is_installed_is_not_stood_in_for(host):
    import math

    assert math.sqrt(4) == 2
    assert not isinstance(math.sqrt, hosts.StandIn)


def test_a_name_that_is_not_listed_fails(tmp_path, monkeypatch):
    (tmp_path / "other_host.py").write_text("import absent_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="absent_library"):
        hosts.load("other_host")
