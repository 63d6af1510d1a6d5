import json

import pytest
import requests

from heartline.errors import SourceError
from heartline.ingestion.access import http, networks, proxies
from tests.running import free_ports

URL = "https://archive.example/records.zip"


def handed_over(**found):
    return {proxies.VARIABLE: json.dumps(found)}


def test_the_usual_variables_are_read_lower_case_first():
    environment = {"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower", "NO_PROXY": "intranet", "PATH": "/bin"}
    assert proxies.of_environment(environment) == {"https": "http://lower", "no": "intranet"}


def test_without_proxies_requests_gets_none():
    assert proxies.for_url(URL, {}) == {}
    assert proxies.for_url(URL, handed_over(no="intranet")) == {}


def test_a_host_in_no_proxy_is_reached_directly():
    environment = handed_over(https="http://proxy:3128", no="archive.example")
    assert proxies.for_url(URL, environment) == {}
    assert proxies.for_url("https://other.example/x", environment) == {"https": "http://proxy:3128"}


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://x"])
def test_a_proxy_of_another_kind_is_named(monkeypatch, proxy):
    monkeypatch.setattr(proxies.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError) as caught:
        proxies.for_url(URL, handed_over(all=proxy))
    assert proxy.partition(":")[0] in caught.value.what
    assert "HTTPS_PROXY" in caught.value.hint


def test_a_download_goes_through_the_proxy_that_was_handed_over(monkeypatch):
    used = []

    def get(self, url, **arguments):
        used.append(arguments["proxies"])
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "get", get)
    monkeypatch.setenv(proxies.VARIABLE, json.dumps({"all": "http://proxy:3128"}))
    with pytest.raises(SourceError):
        http.fetch(URL, http.Limits(seconds=5), networks.Reach())
    assert used == [{"all": "http://proxy:3128"}]


def test_a_proxy_that_does_not_answer_is_named(monkeypatch):
    port = free_ports(1)[0]
    monkeypatch.setenv(proxies.VARIABLE, json.dumps({"https": f"http://127.0.0.1:{port}"}))
    with pytest.raises(SourceError, match="the proxy refuses the connection or is unreachable"):
        http.fetch(URL, http.Limits(seconds=20, retries=0), networks.Reach())
