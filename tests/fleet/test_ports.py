from __future__ import annotations

import socket

import pytest

from hanlin.domain import ConflictError, InvalidInputError
from hanlin.fleet import bind_port, inherited_listener


class TestBindPort:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_takes_connections_at_once(self, host: str) -> None:
        """The socket listens when it is returned; port 0 is a free one."""
        with bind_port(host, 0) as listener:
            port = listener.getsockname()[1]

            with socket.create_connection(("127.0.0.1", port), timeout=5), listener.accept()[0]:
                assert port > 0

    def test_a_taken_port_is_named(self) -> None:
        """A port that someone listens on is refused, with what to do about it (``port_taken``)."""
        with bind_port("127.0.0.1", 0) as holder:
            port = holder.getsockname()[1]

            with pytest.raises(ConflictError, match=str(port)) as caught:
                bind_port("127.0.0.1", port)

        assert caught.value.code == "port_taken"
        assert "HANLIN_GATEWAY__PORT" in caught.value.hint

    def test_a_port_is_free_again_after_its_holder(self) -> None:
        """A platform that was stopped can be started again at once, whatever connections it had."""
        with bind_port("127.0.0.1", 0) as holder:
            address = holder.getsockname()
            with socket.create_connection(address), holder.accept()[0]:
                pass  # the side that closes first leaves the port in TIME_WAIT

        with bind_port(*address) as again:
            assert again.getsockname() == address

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
    def test_anything_but_loopback_needs_tls(self, host: str) -> None:
        """Keys never cross a network in the clear by accident (``address_needs_tls``)."""
        with pytest.raises(InvalidInputError) as caught:
            bind_port(host, 0)

        assert caught.value.code == "address_needs_tls"
        assert "HANLIN_HAS_TLS_IN_FRONT" in caught.value.hint

    def test_with_tls_in_front_every_address_will_do(self) -> None:
        """Who says that something in front speaks TLS may listen everywhere."""
        with bind_port("0.0.0.0", 0, has_tls_in_front=True) as listener:
            assert listener.getsockname()[0] == "0.0.0.0"

    def test_an_address_that_is_not_ours_is_named(self) -> None:
        """An address that this machine does not have is refused by name (``address_invalid``)."""
        with pytest.raises(InvalidInputError, match=r"192\.0\.2\.1") as caught:
            bind_port("192.0.2.1", 0, has_tls_in_front=True)

        assert caught.value.code == "address_invalid"

    def test_a_process_started_by_hand_inherits_nothing(self) -> None:
        """Without a supervisor there is no socket to inherit."""
        assert inherited_listener() is None
