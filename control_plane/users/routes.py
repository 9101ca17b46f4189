"""`/api/v1/auth`, `/api/v1/me` and `/api/v1/users` over HTTP."""

from functools import partial

from aiohttp import hdrs, web

from control_plane.access.model import PRINCIPAL, KeyResource
from control_plane.access.requests import author_of
from control_plane.errors import BadRequest
from control_plane.keys import CSRF, KEYS, SETTINGS, USERS
from control_plane.users.model import (
    CookieSession,
    Credentials,
    InvitationInput,
    Invited,
    PasswordInput,
    RefreshInput,
    SessionResource,
    Tokens,
    UserInput,
    UserPatch,
    UserResource,
)
from control_plane.users.proofs import SecondFactor
from control_plane.users.service import UserService
from control_plane.web.address import client_address
from control_plane.web.cookies import (
    CSRF_HEADER,
    check_same_origin,
    clear_cookies,
    refresh_cookie,
    set_cookies,
)
from control_plane.web.documents import read_document
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.respond import check_if_match, etag_of, json_response, no_content, page
from control_plane.web.routing import CURSOR, IF_MATCH, LIMIT, Page, Param, Permission, Route

__all__ = ["ROUTES", "TOKEN_LIFE", "oneself"]


# Sessions


async def login(request: web.Request) -> web.StreamResponse:
    """Begin a session."""
    credentials = await read_document(request, Credentials)
    agent = request.headers.get(hdrs.USER_AGENT, "")
    return json_response(await _users(request).login(credentials, client_address(request), agent))


async def refresh(request: web.Request) -> web.StreamResponse:
    """Use a refresh token up."""
    document = await read_document(request, RefreshInput)
    return json_response(
        await _users(request).refresh(document.refresh_token, client_address(request))
    )


async def begin_cookies(request: web.Request) -> web.StreamResponse:
    """Put a session into cookies, for the refresh token that a login gave."""
    document = await read_document(request, RefreshInput)
    check_same_origin(request)
    return await _in_cookies(request, document.refresh_token)


async def refresh_cookies(request: web.Request) -> web.StreamResponse:
    """Go on with the session in the cookies."""
    token = refresh_cookie(request)
    if token is None:
        raise BadRequest("there is no session in cookies: log in")
    session = token.removeprefix("mf_refresh_").partition(".")[0]
    request.app[CSRF].check(request, session)
    return await _in_cookies(request, token)


async def _in_cookies(request: web.Request, token: str) -> web.StreamResponse:
    tokens = await _users(request).refresh(token, client_address(request))
    csrf_token = request.app[CSRF].make(tokens.session)
    answer = json_response(CookieSession(csrf_token, tokens.expires_in, tokens.session))
    idle_s = round(request.app[SETTINGS].session_idle_days * 86_400)
    access, refresh = (tokens.access_token, tokens.expires_in), (tokens.refresh_token, idle_s)
    set_cookies(request, answer, access, refresh)
    return answer


async def accept(request: web.Request) -> web.StreamResponse:
    """Take an invitation."""
    document = await read_document(request, InvitationInput)
    made = await _users(request).accept(
        document.invitation, document.password, client_address(request)
    )
    return json_response(made)


async def logout(request: web.Request) -> web.StreamResponse:
    """End the session that asks."""
    user, session = oneself(request)
    await _users(request).end_session(user, session, author_of(request))
    answer = no_content()
    clear_cookies(request, answer)
    return answer


async def who_am_i(request: web.Request) -> web.StreamResponse:
    """Answer who asks."""
    return _one(_users(request).get(oneself(request)[0]))


async def change_password(request: web.Request) -> web.StreamResponse:
    """Give oneself another password."""
    document = await read_document(request, PasswordInput)
    user, session = oneself(request)
    await _users(request).change_password(
        user, session, document.current, document.new, author_of(request)
    )
    return no_content()


async def list_own_sessions(request: web.Request) -> web.StreamResponse:
    """Answer the sessions of who asks."""
    user, session = oneself(request)
    return page(_users(request).sessions(user, session))


async def end_own_session(request: web.Request) -> web.StreamResponse:
    """End one of one's own sessions."""
    user, _ = oneself(request)
    await _users(request).end_session(user, request.match_info["session"], author_of(request))
    return no_content()


async def end_other_sessions(request: web.Request) -> web.StreamResponse:
    """End all of one's own sessions but the one that asks."""
    user, session = oneself(request)
    await _users(request).end_sessions(user, author_of(request), but=session)
    return no_content()


# People


async def list_users(request: web.Request) -> web.StreamResponse:
    """Answer a page of people."""
    email = request.query.get("email")
    items, last = _users(request).page(query_cursor(request), query_limit(request), email)
    return page(items, None if last is None else encode_cursor(last))


async def create_user(request: web.Request) -> web.StreamResponse:
    """Make or invite a person."""
    document = await read_document(request, UserInput)
    users = _users(request)
    is_first = request[PRINCIPAL].kind == "first_admin"
    made = await (users.create_first if is_first else users.create)(document, author_of(request))
    location = f"/api/v1/users/{made.user.id}"
    return json_response(made, 201, etag_of(made.user.version), location)


async def get_user(request: web.Request) -> web.StreamResponse:
    """Answer one person."""
    return _one(_users(request).get(request.match_info["id"]))


async def patch_user(request: web.Request) -> web.StreamResponse:
    """Change a person."""
    document = await read_document(request, UserPatch)
    changed = await _users(request).patch(
        request.match_info["id"], document, author_of(request), partial(check_if_match, request)
    )
    return _one(changed)


async def delete_user(request: web.Request) -> web.StreamResponse:
    """Delete a person."""
    await _users(request).delete(request.match_info["id"], author_of(request))
    return no_content()


async def invite_user(request: web.Request) -> web.StreamResponse:
    """Invite a person again."""
    return json_response(
        await _users(request).invite_again(request.match_info["id"], author_of(request))
    )


async def list_keys(request: web.Request) -> web.StreamResponse:
    """Answer the keys that a person made, in all projects: they go on without their maker."""
    actor = _users(request).actor(request.match_info["id"])
    return page(request.app[KEYS].made_by(actor))


async def list_sessions(request: web.Request) -> web.StreamResponse:
    """Answer the sessions of a person."""
    return page(_users(request).sessions(request.match_info["id"], None))


async def end_sessions(request: web.Request) -> web.StreamResponse:
    """End all sessions of a person."""
    await _users(request).end_sessions(request.match_info["id"], author_of(request))
    return no_content()


async def end_session(request: web.Request) -> web.StreamResponse:
    """End one session of a person."""
    user, session = request.match_info["id"], request.match_info["session"]
    await _users(request).end_session(user, session, author_of(request))
    return no_content()


def _users(request: web.Request) -> UserService:
    return request.app[USERS]


def oneself(request: web.Request) -> tuple[str, str]:
    """Return the person and the session that ask; the permission `account` sees to it."""
    principal = request[PRINCIPAL]
    if principal.user is None or principal.session is None:
        raise RuntimeError("a route about oneself needs the permission account")
    return principal.user, principal.session


def _one(user: UserResource) -> web.Response:
    return json_response(user, etag=etag_of(user.version))


_ID = Param("id", "path", required=True, description="The id of a person, `u_...`.")
_SESSION = Param("session", "path", required=True, description="The id of a session, `s_...`.")
TOKEN_LIFE = "The access token is good for ten minutes, the refresh token once."  # noqa: S105 - a sentence

ROUTES = (
    Route(
        method="POST",
        path="/api/v1/auth/login",
        handler=login,
        summary="Log in",
        permission=Permission.PUBLIC,
        tag="sessions",
        body=Credentials,
        example={"email": "admin@example.com", "password": "correct horse battery"},
        responses={200: (Tokens, SecondFactor)},
        description=f"{TOKEN_LIFE} With `mfa_required` in the answer there are no tokens yet: "
        "answer its challenge at `/api/v1/auth/verify`. Where LDAP is configured, `email` may be "
        "the name that somebody has there, and who has no password here is looked up there: 503 "
        "`ldap_unavailable` while that does not answer, 403 `sso_refused` for whom it knows and "
        "who may not come in. 401 `login_failed` does not say what was "
        "wrong; 429 after ten attempts to an account, thirty from an address, within a quarter "
        "of an hour.",
    ),
    Route(
        method="POST",
        path="/api/v1/auth/refresh",
        handler=refresh,
        summary="Go on with a session",
        permission=Permission.PUBLIC,
        tag="sessions",
        body=RefreshInput,
        example={"refresh_token": "mf_refresh_s_0123456789abcdef." + "x" * 43},
        responses={200: Tokens},
        description=f"{TOKEN_LIFE} One that was used before ends the session: somebody else has "
        "it. The one just used is taken again for ten seconds, in case its answer was lost.",
    ),
    Route(
        method="POST",
        path="/api/v1/auth/cookies",
        handler=begin_cookies,
        summary="Put a session into cookies",
        permission=Permission.PUBLIC,
        tag="sessions",
        body=RefreshInput,
        example={"refresh_token": "mf_refresh_s_0123456789abcdef." + "x" * 43},
        responses={200: CookieSession},
        description="For pages of this origin: uses the refresh token up and puts the next tokens "
        "into cookies that no script can read. Requests then carry `X-Matrixflag-Csrf` with the "
        "`csrf_token`. 403 `csrf_failed` for anybody but a page of this origin.",
    ),
    Route(
        method="POST",
        path="/api/v1/auth/cookies/refresh",
        handler=refresh_cookies,
        summary="Go on with a session in cookies",
        permission=Permission.PUBLIC,
        tag="sessions",
        params=(Param(CSRF_HEADER, "header", description="The `csrf_token` of the session."),),
        responses={200: CookieSession},
    ),
    Route(
        method="POST",
        path="/api/v1/auth/accept",
        handler=accept,
        summary="Take an invitation",
        permission=Permission.PUBLIC,
        tag="sessions",
        body=InvitationInput,
        example={"invitation": "x" * 43, "password": "correct horse battery"},
        responses={200: UserResource},
    ),
    Route(
        method="POST",
        path="/api/v1/auth/logout",
        handler=logout,
        summary="Log out",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="sessions",
        responses={204: None},
    ),
    Route(
        method="GET",
        path="/api/v1/me",
        handler=who_am_i,
        summary="Read who one is",
        permission=Permission.ACCOUNT,
        without_factor=True,
        tag="sessions",
        responses={200: UserResource},
    ),
    Route(
        method="POST",
        path="/api/v1/me/password",
        handler=change_password,
        summary="Change one's password",
        permission=Permission.ACCOUNT,
        tag="sessions",
        body=PasswordInput,
        example={"current": "correct horse battery", "new": "staple apple window rain"},
        responses={204: None},
        description="`current` is the password as it is, `new` the one that it shall be. Ends all "
        "other sessions.",
    ),
    Route(
        method="GET",
        path="/api/v1/me/sessions",
        handler=list_own_sessions,
        summary="List one's sessions",
        permission=Permission.ACCOUNT,
        tag="sessions",
        responses={200: Page[SessionResource]},
    ),
    Route(
        method="DELETE",
        path="/api/v1/me/sessions",
        handler=end_other_sessions,
        summary="End one's other sessions",
        permission=Permission.ACCOUNT,
        tag="sessions",
        responses={204: None},
    ),
    Route(
        method="DELETE",
        path="/api/v1/me/sessions/{session}",
        handler=end_own_session,
        summary="End one of one's sessions",
        permission=Permission.ACCOUNT,
        tag="sessions",
        params=(_SESSION,),
        responses={204: None},
    ),
    Route(
        method="GET",
        path="/api/v1/users",
        handler=list_users,
        summary="List users",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(
            Param("email", description="Only who has this address; capitals do not matter."),
            LIMIT,
            CURSOR,
        ),
        responses={200: Page[UserResource]},
    ),
    Route(
        method="POST",
        path="/api/v1/users",
        handler=create_user,
        summary="Invite or create a user",
        permission=Permission.INSTALLATION,
        tag="users",
        first_admin=True,
        body=UserInput,
        example={
            "email": "ada@example.com",
            "name": "Ada",
            "roles": [{"role": "manager", "project": "default", "environment": "staging"}],
        },
        responses={201: Invited},
        description="Without `password` they are invited: `invitation` in the answer is shown this "
        "once, is good for seven days, and is what they choose a password with. The token of "
        "`ADMIN_TOKEN` makes the first administrator here, with `password` and the role `admin` in "
        "all projects, and nobody else: 403 `first_admin_only`, 409 `admin_exists`.",
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}",
        handler=get_user,
        summary="Read a user",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID,),
        responses={200: UserResource},
    ),
    Route(
        method="PATCH",
        path="/api/v1/users/{id}",
        handler=patch_user,
        summary="Change a user's name, roles or standing",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID, IF_MATCH),
        body=UserPatch,
        example={"disabled": True},
        responses={200: UserResource},
        description="Effective at once, on every replica within two seconds. Disabling ends all "
        "sessions. The last administrator stays one: 409 `last_admin`. Of somebody with "
        "`roles_from` in the answer, roles and name stay as given here until they log in there.",
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{id}",
        handler=delete_user,
        summary="Delete a user",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID,),
        responses={204: None},
    ),
    Route(
        method="POST",
        path="/api/v1/users/{id}/invite",
        handler=invite_user,
        summary="Invite a user again",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID,),
        responses={200: Invited},
        description="Ends the password they had, and their sessions: for who has forgotten it.",
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}/keys",
        handler=list_keys,
        summary="List the keys that a user made",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID,),
        responses={200: Page[KeyResource]},
        description="Of all projects, those that have not expired. They are good whatever becomes "
        "of the user: look at them before you disable or delete somebody.",
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}/sessions",
        handler=list_sessions,
        summary="List a user's sessions",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID,),
        responses={200: Page[SessionResource]},
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{id}/sessions",
        handler=end_sessions,
        summary="End all sessions of a user",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID,),
        responses={204: None},
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{id}/sessions/{session}",
        handler=end_session,
        summary="End a session of a user",
        permission=Permission.INSTALLATION,
        tag="users",
        params=(_ID, _SESSION),
        responses={204: None},
    ),
)
