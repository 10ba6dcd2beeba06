"""Knocks at ports as a stranger who has no token: `python -m tests.conformance.knock PORT...` prints what each says.

Every method of every service that Ray and TFF define is called with an empty request, without a token and with a wrong
one, and Ray's agents are asked over HTTP. A port is `closed` if nobody is there, `denied` if every answer is that the
caller may not call, `open` if a method was carried out, even if it found the request wrong, and else `silent`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import grpc

TFF_METHODS = [f"/tensorflow_federated.v0.ExecutorGroup/{name}" for name in ("GetExecutor", "CreateValue", "Compute")]
# The one service of Ray that its Python package has no definition of.
OBJECT_METHODS = [f"/ray.rpc.ObjectManagerService/{name}" for name in ("FreeObjects", "Pull", "Push")]
WRONG_TOKENS: tuple[list[tuple[str, str]], ...] = ([], [("authorization", f"Bearer {'a' * 64}")])
SAYS = {
    grpc.StatusCode.UNAUTHENTICATED: "denied",
    grpc.StatusCode.UNIMPLEMENTED: "silent",  # another service's method
    grpc.StatusCode.UNAVAILABLE: "closed",
}


def ray_methods() -> Iterator[str]:
    """Every method that Ray's processes may offer each other."""
    from ray.core import generated

    for module in pkgutil.iter_modules(generated.__path__):
        if module.name.endswith("_pb2"):
            services = importlib.import_module(f"{generated.__name__}.{module.name}").DESCRIPTOR.services_by_name
            for service in services.values():
                yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def knock(port: int) -> str:
    """What the port says."""
    methods = [*TFF_METHODS, *OBJECT_METHODS, *ray_methods()]
    heard = {_http(port)}
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        for token in WRONG_TOKENS:
            for method in methods:
                heard.add(_call(channel, method, token))
                if "open" in heard:
                    return "open"
    return next(answer for answer in ("denied", "silent", "closed") if answer in heard)


def _call(channel: grpc.Channel, method: str, token: list[tuple[str, str]]) -> str:
    try:
        channel.unary_unary(method)(b"", timeout=5, metadata=token)
    except grpc.RpcError as error:
        return SAYS.get(error.code(), "open")
    return "open"


def _http(port: int) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/get_or_create_runtime_env", data=b"")
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5)
    except urllib.error.HTTPError as error:
        return "denied" if error.code in (401, 403) else "silent" if error.code == 404 else "open"
    except (OSError, ValueError, urllib.error.URLError) as error:
        return "closed" if "refused" in str(error) else "silent"
    except Exception:  # a gRPC server's answer is no HTTP/1
        return "silent"
    return "open"


if __name__ == "__main__":
    print(json.dumps({port: knock(int(port)) for port in sys.argv[1:]}))
