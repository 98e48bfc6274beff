"""Logging in to a network camera over HTTP: one answer to its challenge, as a camera locks out who guesses."""

import contextlib
import hashlib
import io
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPMessage
from typing import Any

_HASHES = {"sha-256": "sha256", "md5": "md5"}
"""What cameras offer, the better first (RFC 7616)."""


class Digest(urllib.request.HTTPDigestAuthHandler):
    """For one request; Python's own knows no SHA-256 and no password beyond ASCII, and tries a wrong one six times."""

    _answered = ""
    """The address that was answered last: what it leads to may ask once more."""

    def http_error_401(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage) -> Any:
        """Answer, and let go of the connection that asked."""
        with contextlib.closing(fp):
            return super().http_error_401(req, fp, code, msg, headers)

    def http_error_auth_reqed(self, auth_header: str, host: str, req: urllib.request.Request, headers: Any) -> Any:
        """Answer the best challenge that is known here, once an address; another scheme is left to others."""
        del host
        offers = [text for text in headers.get_all(auth_header, ()) if text.lower().startswith("digest ")]
        if not offers:
            return None
        if self._answered == req.full_url:
            raise _refused(req, headers)
        self._answered = req.full_url
        known = [offer for name in _HASHES for offer in offers if _algorithm(offer) == name]
        answered = self.retry_http_digest_auth(req, (known or offers)[0])
        if answered is None:  # no password was given
            raise _refused(req, headers)
        return answered

    def get_algorithm_impls(self, algorithm: str) -> tuple[Callable[[str], str], Callable[[str, str], str]]:
        """Return the hash of a text, and of a secret with a text."""
        kind = _HASHES.get(algorithm.lower())
        if kind is None:
            raise ValueError(f"it asks for the password by {algorithm}, which is not known here")

        def hashed(text: str) -> str:
            return hashlib.new(kind, text.encode(), usedforsecurity=False).hexdigest()

        return hashed, lambda secret, text: hashed(f"{secret}:{text}")


def _algorithm(offer: str) -> str:
    listed = urllib.request.parse_http_list(offer.partition(" ")[2])
    fields = urllib.request.parse_keqv_list([one for one in listed if one])  # a comma too many is allowed
    return fields.get("algorithm", "MD5").lower()


def _refused(asked: urllib.request.Request, headers: HTTPMessage) -> urllib.error.HTTPError:
    status = HTTPStatus.UNAUTHORIZED
    return urllib.error.HTTPError(asked.full_url, status, status.phrase, headers, io.BytesIO())
