"""Second factors over HTTP: under `/api/v1/auth` at a login, under `/api/v1/me` one's own."""

from aiohttp import hdrs, web

from control_plane.access.requests import author_of
from control_plane.keys import FACTORS
from control_plane.users.factors import FactorService
from control_plane.users.model import Tokens
from control_plane.users.proofs import (
    Added,
    Enrolment,
    FactorsResource,
    PasskeyChallenge,
    PasskeyInput,
    PasskeyPatch,
    ProofInput,
    RecoveryCodes,
    TotpInput,
    VerifyInput,
)
from control_plane.users.routes import TOKEN_LIFE, oneself
from control_plane.web.address import client_address
from control_plane.web.documents import read_document
from control_plane.web.respond import json_response, no_content
from control_plane.web.routing import Param, Permission, Route

__all__ = ["ROUTES"]


# At a login


async def ask_passkey(request: web.Request) -> web.StreamResponse:
    """Answer the challenge for a login with a passkey alone."""
    return json_response(_factors(request).ask_passkey())


async def verify(request: web.Request) -> web.StreamResponse:
    """Begin a session by the answer to a challenge."""
    document = await read_document(request, VerifyInput)
    address, agent = client_address(request), request.headers.get(hdrs.USER_AGENT, "")
    return json_response(await _factors(request).verify(document, address, agent))


# One's own


async def list_factors(request: web.Request) -> web.StreamResponse:
    """Answer one's second factors."""
    return json_response(_factors(request).shown(*oneself(request)))


async def ask_own_passkey(request: web.Request) -> web.StreamResponse:
    """Answer the challenge for proving oneself again with a passkey."""
    return json_response(_factors(request).ask_own_passkey(*oneself(request)))


async def prove(request: web.Request) -> web.StreamResponse:
    """Prove oneself again."""
    document = await read_document(request, ProofInput)
    await _factors(request).prove(*oneself(request), document, author_of(request))
    return no_content()


async def begin_totp(request: web.Request) -> web.StreamResponse:
    """Answer a secret for an authenticator app."""
    return json_response(await _factors(request).begin_totp(*oneself(request)))


async def confirm_totp(request: web.Request) -> web.StreamResponse:
    """Set an authenticator app up."""
    document = await read_document(request, TotpInput)
    factors, author = _factors(request), author_of(request)
    return json_response(await factors.confirm_totp(*oneself(request), document, author))


async def remove_totp(request: web.Request) -> web.StreamResponse:
    """Remove one's authenticator app."""
    await _factors(request).remove_totp(*oneself(request), author_of(request))
    return no_content()


async def begin_passkey(request: web.Request) -> web.StreamResponse:
    """Answer what a browser is asked for to make a passkey."""
    return json_response(await _factors(request).begin_passkey(*oneself(request)))


async def confirm_passkey(request: web.Request) -> web.StreamResponse:
    """Set a passkey up."""
    document = await read_document(request, PasskeyInput)
    factors, author = _factors(request), author_of(request)
    return json_response(await factors.confirm_passkey(*oneself(request), document, author))


async def rename_passkey(request: web.Request) -> web.StreamResponse:
    """Give one of one's passkeys another name."""
    document = await read_document(request, PasskeyPatch)
    user, _ = oneself(request)
    passkey = request.match_info["passkey"]
    await _factors(request).rename_passkey(user, passkey, document.name, author_of(request))
    return no_content()


async def remove_passkey(request: web.Request) -> web.StreamResponse:
    """Remove one of one's passkeys."""
    passkey = request.match_info["passkey"]
    await _factors(request).remove_passkey(*oneself(request), passkey, author_of(request))
    return no_content()


async def renew_recovery(request: web.Request) -> web.StreamResponse:
    """Answer new recovery codes."""
    codes = await _factors(request).renew_recovery(*oneself(request), author_of(request))
    return json_response(RecoveryCodes(codes))


# Others'


async def reset_factors(request: web.Request) -> web.StreamResponse:
    """Remove all second factors of somebody."""
    await _factors(request).reset(request.match_info["id"], author_of(request))
    return no_content()


def _factors(request: web.Request) -> FactorService:
    return request.app[FACTORS]


_PROVED_LATELY = "403 `proof_needed` unless the session began, or was at `/api/v1/me/verify`, "
_PROVED_LATELY += "within ten minutes."
_ONE_PASSKEY = "/api/v1/me/factors/passkeys/{passkey:(?!confirm$)[^/]+}"
_PASSKEY = Param("passkey", "path", required=True, description="The id of a passkey.")

ROUTES = (
    Route(
        method="POST",
        path="/api/v1/auth/passkey",
        handler=ask_passkey,
        summary="Ask to log in with a passkey alone",
        permission=Permission.PUBLIC,
        tag="sessions",
        responses={200: PasskeyChallenge},
        description="`options` are what `navigator.credentials.get` takes as `publicKey`. The "
        "passkey must know its person, by a finger or a PIN.",
    ),
    Route(
        method="POST",
        path="/api/v1/auth/verify",
        handler=verify,
        summary="Answer a challenge, and be logged in",
        permission=Permission.PUBLIC,
        tag="sessions",
        body=VerifyInput,
        example={"challenge": "mf_challenge_0123456789abcdef.xxxx", "code": "123456"},
        responses={200: Tokens},
        description=f"{TOKEN_LIFE} A challenge is good for five minutes, five answers and one "
        "login. Each answer counts as an attempt to log in.",
    ),
    Route(
        method="POST",
        path="/api/v1/me/verify",
        handler=prove,
        summary="Prove oneself again",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="second factors",
        body=ProofInput,
        example={"code": "123456"},
        responses={204: None},
        description="Second factors can be changed for ten minutes from then on. A password does "
        "only in a session that a second factor was shown in, or for who has none.",
    ),
    Route(
        method="POST",
        path="/api/v1/me/passkey",
        handler=ask_own_passkey,
        summary="Ask to prove oneself again with a passkey",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="second factors",
        responses={200: PasskeyChallenge},
    ),
    Route(
        method="GET",
        path="/api/v1/me/factors",
        handler=list_factors,
        summary="Read one's second factors",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="second factors",
        responses={200: FactorsResource},
    ),
    Route(
        method="POST",
        path="/api/v1/me/factors/totp",
        handler=begin_totp,
        summary="Begin to set an authenticator app up",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="second factors",
        responses={200: Enrolment},
        description=f"Nothing changes until it is confirmed. {_PROVED_LATELY}",
    ),
    Route(
        method="POST",
        path="/api/v1/me/factors/totp/confirm",
        handler=confirm_totp,
        summary="Confirm an authenticator app",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="second factors",
        body=TotpInput,
        example={"challenge": "mf_challenge_0123456789abcdef.xxxx", "code": "123456"},
        responses={200: Added},
        description="With the first second factor come ten recovery codes, shown this once, and "
        "all other sessions end. The code is used by this: a login takes the next one, which the "
        "app shows at `next_code_at`.",
    ),
    Route(
        method="DELETE",
        path="/api/v1/me/factors/totp",
        handler=remove_totp,
        summary="Remove one's authenticator app",
        permission=Permission.ACCOUNT,
        tag="second factors",
        responses={204: None},
        description=_PROVED_LATELY,
    ),
    Route(
        method="POST",
        path="/api/v1/me/factors/passkeys",
        handler=begin_passkey,
        summary="Begin to set a passkey up",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="second factors",
        responses={200: PasskeyChallenge},
        description="`options` are what `navigator.credentials.create` takes as `publicKey`. "
        f"{_PROVED_LATELY} 409 `passkeys_unavailable` without `MATRIXFLAG_PUBLIC_URL`.",
    ),
    Route(
        method="POST",
        path="/api/v1/me/factors/passkeys/confirm",
        handler=confirm_passkey,
        summary="Set a passkey up",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="second factors",
        body=PasskeyInput,
        example={
            "challenge": "mf_challenge_0123456789abcdef.xxxx",
            "name": "laptop",
            "passkey": {
                "id": "xxxx",
                "rawId": "xxxx",
                "type": "public-key",
                "response": {"clientDataJSON": "xxxx", "attestationObject": "xxxx"},
            },
        },
        responses={200: Added},
        description="With the first second factor come ten recovery codes, shown this once, and "
        "all other sessions end.",
    ),
    Route(
        method="PATCH",
        path=_ONE_PASSKEY,
        handler=rename_passkey,
        summary="Name one of one's passkeys",
        permission=Permission.ACCOUNT,
        tag="second factors",
        params=(_PASSKEY,),
        body=PasskeyPatch,
        example={"name": "the key on my ring"},
        responses={204: None},
    ),
    Route(
        method="DELETE",
        path=_ONE_PASSKEY,
        handler=remove_passkey,
        summary="Remove one of one's passkeys",
        permission=Permission.ACCOUNT,
        tag="second factors",
        params=(_PASSKEY,),
        responses={204: None},
        description=_PROVED_LATELY,
    ),
    Route(
        method="POST",
        path="/api/v1/me/factors/recovery",
        handler=renew_recovery,
        summary="Make new recovery codes",
        permission=Permission.ACCOUNT,
        tag="second factors",
        responses={200: RecoveryCodes},
        description=f"Shown this once; those there were end. {_PROVED_LATELY}",
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{id}/factors",
        handler=reset_factors,
        summary="Remove all second factors of a user",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(Param("id", "path", required=True, description="The id of a person, `u_...`."),),
        responses={204: None},
        description="For who has lost them. Ends their sessions.",
    ),
)
