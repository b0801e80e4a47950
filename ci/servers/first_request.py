"""A server's kind and address -> exit code 0 if it answers a real request; makes the bucket or folder that tests use.

``python first_request.py KIND ARGUMENT...``. It has nothing but the standard library.
"""

import base64
import hashlib
import hmac
import http.client
import json
import socket
import struct
import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit

SECONDS = 5


def http_answer(method, url, body=b"", headers=()):
    """Status, headers and body that a server gives, without proxies or redirects."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=SECONDS)
    path = (place.path or "/") + (f"?{place.query}" if place.query else "")
    connection.request(method, path, body or None, {"Content-Length": str(len(body)), **dict(headers)})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def redis(host, port):
    """A PING gets its PONG: not while the log of commands is being read."""
    with socket.create_connection((host, int(port)), SECONDS) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")


def web(url):
    """A page."""
    return http_answer("GET", url)[0] == 200


def mongodb(host, port):
    """A ``hello``, in BSON in an OP_MSG, gets the answer of a server that takes writes."""
    document = b"\x10hello\0" + struct.pack("<i", 1) + b"\x02$db\0" + struct.pack("<i", 6) + b"admin\0"
    section = b"\0" + struct.pack("<i", len(document) + 5) + document + b"\0"
    message = struct.pack("<iiiiI", 20 + len(section), 1, 0, 2013, 0) + section
    with socket.create_connection((host, int(port)), SECONDS) as connection:
        connection.sendall(message)
        return b"isWritablePrimary\0\x01" in connection.recv(2**16)


def s3(host, port, key, secret, bucket):
    """An object goes in, comes out and is deleted, by signed requests."""
    place = f"http://{host}:{port}/{bucket}"
    if s3_answer("HEAD", place, key, secret)[0] != 200:
        s3_answer("PUT", place, key, secret)
    if s3_answer("PUT", f"{place}/first", key, secret, b"request")[0] != 200:
        return False
    status, _, value = s3_answer("GET", f"{place}/first", key, secret)
    return (status, value) == (200, b"request") and s3_answer("DELETE", f"{place}/first", key, secret)[0] in (200, 204)


def s3_answer(method, url, key, secret, body=b""):
    """What S3 answers to a request with a signature of version 4."""
    place, now = urlsplit(url), datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    signed = {"host": place.netloc, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": now}
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    names = ";".join(signed)
    request = f"{method}\n{place.path}\n\n{lines}\n{names}\n{signed['x-amz-content-sha256']}"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, text.encode(), "sha256").hex()
    authorization = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return http_answer(method, url, body, {**signed, "Authorization": authorization})


def azure(host, port, account, key, container):
    """A container is made, or is there."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    path = f"/{account}/{container}"
    own = {"x-ms-date": date, "x-ms-version": "2021-12-02"}
    lines = "".join(f"{name}:{value}\n" for name, value in own.items())
    text = "PUT" + "\n" * 12 + lines + f"/{account}{path}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256")).decode()
    headers = {**own, "Authorization": f"SharedKey {account}:{signature}"}
    return http_answer("PUT", f"http://{host}:{port}{path}?restype=container", headers=headers)[0] in (201, 409)


def gcs(host, port, bucket):
    """A bucket is made, or is there."""
    body, headers = json.dumps({"name": bucket}).encode(), {"Content-Type": "application/json"}
    return http_answer("POST", f"http://{host}:{port}/storage/v1/b?project=test", body, headers)[0] in (200, 409)


def webhdfs(host, port, user):
    """A file goes in and comes out: by the NameNode, which sends on to the DataNode."""
    folder = f"http://{host}:{port}/webhdfs/v1/daskzarr"
    http_answer("PUT", f"{folder}?op=MKDIRS&user.name={user}")
    status, headers, _ = http_answer("PUT", f"{folder}/.first?op=CREATE&overwrite=true&user.name={user}")
    if status != 307 or http_answer("PUT", headers["Location"], b"request")[0] != 201:
        return False
    status, headers, _ = http_answer("GET", f"{folder}/.first?op=OPEN&user.name={user}")
    came = status == 307 and http_answer("GET", headers["Location"])[2] == b"request"
    http_answer("DELETE", f"{folder}/.first?op=DELETE&user.name={user}")
    return came


KINDS = {"azure": azure, "gcs": gcs, "http": web, "mongodb": mongodb, "redis": redis, "s3": s3, "webhdfs": webhdfs}

if __name__ == "__main__":
    try:
        sys.exit(0 if KINDS[sys.argv[1]](*sys.argv[2:]) else "no such answer yet")
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"no answer yet: {error}")
