"""Events of triggers, over HTTP as JSON: by a client, by CI after a merge, or as a webhook of GitHub or GitLab.

POST /v1/triggers/{name}    {"reason"?, "id"?, "commit"?, "ref"?}, or the body of a push or of a merge

An event is on disk before the answer leaves; the loop acts on it once. Sending it again with the same id has no effect.
A signed webhook needs no token; its signature covers the body, so it is checked here.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from trimtab.clock import to_micros
from trimtab.definitions.secrets import reveal
from trimtab.errors import StageError, nearest
from trimtab.serving.core.gateway import Gateway, Ids
from trimtab.serving.endpoints import JSON, Answer, Call, Content, Description, Headers, Route, encode_error
from trimtab.serving.inbox import AskedTrigger
from trimtab.serving.protocols.json_text import read
from trimtab.serving.requests import Refused, control, shown
from trimtab.serving.worker_options import FiredTrigger

ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
LONGEST_REASON, LONGEST_REF = 500, 200
SHORT_COMMIT = 12
BRANCHES = "refs/heads/"
NO_COMMIT = re.compile(r"0+")
"""The commit of a branch that was deleted."""
SIGNATURE, GITLAB_TOKEN = b"x-hub-signature-256", b"x-gitlab-token"
GITHUB_EVENT, GITLAB_EVENT = b"x-github-event", b"x-gitlab-event"
KEY_HEADERS = (b"idempotency-key", b"x-github-delivery", b"x-gitlab-event-uuid")
OWN_PROOFS = (b"authorization", b"x-api-key")
KEPT = "kept: the loop of `trimtab up` does not run, or has not begun yet; it acts on this event when it begins"
NOT_SIGNED = (
    "the webhook is not signed with the secret of this trigger; give GitHub or GitLab the value of the environment "
    "variable that triggers.NAME.secret names, or send a token with the verb 'trigger'"
)

logger = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class EventBody(msgspec.Struct):
    """Why a trigger is fired. id: the client's own for this event; commit, ref: of a merge, which needs both."""

    reason: str | None = None
    id: str | None = None
    commit: str | None = None
    ref: str | None = None


class Fired(msgspec.Struct, frozen=True):
    """The answer. accepted: False for an event that is none of this trigger, such as a push to another branch."""

    trigger: str
    accepted: bool
    id: str | None = None
    detail: str = ""
    see: str = ""


class Push(NamedTuple):
    """A merge or a push. ref: a branch or another reference, with its folder where the sender names it."""

    commit: str
    ref: str
    by: str | None


class Ignored(NamedTuple):
    """Why a webhook is no event of a trigger."""

    reason: str


def routes(gateway: Gateway) -> list[Route]:
    """Return the route that takes events of triggers."""
    ids = Ids()
    known = {trigger.name: trigger for trigger in gateway.options.triggers}

    async def take(call: Call) -> Answer:
        found, name = gateway.triggers, call.params["name"]
        trigger = known.get(name)
        if call.client is None:
            _check_proof(call, name, trigger)
        if found is None or not known:
            raise Refused(404, "trimtab.yaml names no triggers; add one below triggers, and start the gateway anew")
        if trigger is None:
            raise Refused(404, f"no trigger {shown(name)}.{nearest(name[:60], known)}")
        asked = decode(call, trigger)
        if isinstance(asked, Ignored):
            return Answer(200, _encode(Fired(name, False, detail=asked.reason)), JSON)
        event = AskedTrigger(
            name=name,
            id=asked.id or ids.new(),
            reason=asked.reason,
            by=call.client or asked.by or "gateway",
            received_at=to_micros(gateway.clock.now()),
            commit=asked.commit,
            reference=asked.reference,
        )
        try:
            await gateway.decoding.run(found.keep, [event])
        except OSError as error:
            raise Refused(503, f"the event could not be written: {error}") from error
        detail = "the loop acts on it" if gateway.is_steered() else KEPT
        see = f"trimtab trigger show {name} --id {event.id}{trigger.option}"
        return Answer(202, _encode(Fired(name, True, event.id, detail, see)), JSON)

    commit = "3f1a9c07d2b84e6f90a1b2c3d4e5f60718293a4b"
    see = f"trimtab trigger show after-merge --id {commit}"
    described = Description(
        takes=[Content(EventBody, EventBody(commit=commit, ref="refs/heads/main"))],
        gives=[Content(Fired, Fired("after-merge", True, commit, "the loop acts on it", see))],
        errors={404: "There is no such trigger.", 503: "It could not be written to disk."},
        success=202,
        also={200: Content(Fired, Fired("after-merge", False, detail="branch 'docs' is not 'main'"))},
        detail="The loop acts on each event once. The id comes from the header Idempotency-Key or the body, of a merge "
        "else from its commit; the same id again is the same event. Webhooks of GitHub (push, pull_request) and GitLab "
        "(Push Hook, Merge Request Hook) are taken as they are; one that is signed with the trigger's secret needs no "
        "token. 200: the event is none of this trigger.",
    )
    path = "/v1/triggers/{name}"
    route = Route("POST", path, "trigger", take, encode_error, "Fire a trigger.", described, is_signed=is_signed)
    return [route]


def is_signed(headers: Headers) -> bool:
    """Return True for a webhook that brings a signature or a secret, and no token."""
    names = [name for name, _ in headers]
    return any(name in names for name in (SIGNATURE, GITLAB_TOKEN)) and not any(name in names for name in OWN_PROOFS)


def _check_proof(call: Call, name: str, trigger: FiredTrigger | None) -> None:
    """Check the signature of a request without a token. Raises Refused.

    Where the gateway asks for tokens, a signature for a trigger that is not there is refused as a wrong one is.
    """
    signature, token = call.header(SIGNATURE), call.header(GITLAB_TOKEN)
    secret = None if trigger is None else trigger.secret
    if secret is None:
        if signature is not None or token is not None:
            raise Refused(401, NOT_SIGNED)
        return
    try:
        key = reveal(f"${{{secret}}}", f"triggers.{name}.secret").encode()
    except StageError as error:
        logger.error("%s", error)
        raise Refused(503, "the signature cannot be checked; the log of the gateway says why") from error
    given, wanted = (
        (signature, "sha256=" + hmac.new(key, call.body, hashlib.sha256).hexdigest())
        if signature is not None
        else (token or "", key.decode())
    )
    if not key or not hmac.compare_digest(given.encode("latin-1"), wanted.encode()):
        raise Refused(401, NOT_SIGNED)


class Event(NamedTuple):
    """What a request says. by: the sender that the webhook names."""

    reason: str
    id: str | None
    commit: str | None = None
    reference: str | None = None
    by: str | None = None


def decode(call: Call, trigger: FiredTrigger) -> Event | Ignored:
    """Read an event. Raises Refused."""
    found: Any = read(msgspec.json.decode, call.body, "event of a trigger") if call.body else {}
    if not isinstance(found, dict):
        raise Refused(400, 'malformed event of a trigger: expected {"reason"?, "id"?, "commit"?, "ref"?}')
    key = next((text for name in KEY_HEADERS if (text := call.header(name))), None)
    if (webhook := _webhook(call, found)) is not None:
        if isinstance(webhook, Ignored):
            return webhook
        return _pushed(trigger, webhook, None if trigger.branch else key, "")
    fields = EventBody.__struct_fields__
    if unknown := [name for name in found if name not in fields]:
        raise Refused(400, f"unknown field {shown(unknown[0])}.{nearest(str(unknown[0])[:60], fields)}")
    reason = _text(found, "reason", LONGEST_REASON)
    commit, ref = _text(found, "commit", LONGEST_REF), _text(found, "ref", LONGEST_REF)
    given = found.get("id")
    if given is not None and (not isinstance(given, str) or not ID.fullmatch(given)):
        raise Refused(400, f"id is {shown(given)}; expected up to 64 letters, digits, or any of _ . : -")
    key = call.header(KEY_HEADERS[0]) or given
    if commit is not None and not COMMIT.fullmatch(commit):
        raise Refused(400, f"commit is {shown(commit)}; expected 7 to 64 hexadecimal digits")
    if trigger.branch is not None and (commit is None or ref is None):
        missing = "commit" if commit is None else "ref"
        raise Refused(
            400, f'{missing} is missing; a merge needs both: {{"commit": "3f1a9c0...", "ref": "refs/heads/main"}}'
        )
    if commit is not None and ref is not None:
        return _pushed(trigger, Push(commit, ref, None), key, reason or "")
    sent = call.request_id
    key = key or (sent if sent is not None and ID.fullmatch(sent) else None)
    return Event(reason or "fired over HTTP", _key(key), commit, ref)


def _pushed(trigger: FiredTrigger, push: Push, key: str | None, reason: str) -> Event | Ignored:
    branch = push.ref.removeprefix(BRANCHES)
    if trigger.branch is not None:
        if push.ref.startswith("refs/") and not push.ref.startswith(BRANCHES):
            return Ignored(f"{push.ref} is no branch")
        if NO_COMMIT.fullmatch(push.commit):
            return Ignored(f"branch '{branch}' was deleted")
        if not fnmatchcase(branch, trigger.branch):
            return Ignored(f"branch '{branch}' is not '{trigger.branch}'")
        key = key or push.commit.lower()
    by = f" by {push.by}" if push.by else ""
    said = reason or f"{push.commit[:SHORT_COMMIT]} on {branch}{by}"
    return Event(said, _key(key), push.commit.lower(), branch, push.by)


def _key(key: str | None) -> str | None:
    if key is not None and not ID.fullmatch(key):
        raise Refused(400, f"the Idempotency-Key is {shown(key)}; expected up to 64 letters, digits, or any of _ . : -")
    return key


def _text(found: Mapping[str, Any], field: str, longest: int) -> str | None:
    value = found.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise Refused(400, f"{field} is {shown(value)}; expected text of at most {longest} characters")
    if (bad := control(value)) is not None:
        raise Refused(400, f"{field} is {shown(value)}; expected no control characters, such as {bad}")
    return value.strip()


def _webhook(call: Call, found: Mapping[str, Any]) -> Push | Ignored | None:
    """Return what a webhook of GitHub or GitLab says; None for a request that is none. Raises Refused."""
    github, gitlab = call.header(GITHUB_EVENT), call.header(GITLAB_EVENT)
    if github is not None:
        return _github(github, found)
    if gitlab is not None or found.get("object_kind") in ("push", "merge_request"):
        return _gitlab(found)
    return None


def _github(event: str, found: Mapping[str, Any]) -> Push | Ignored:
    if event == "push":
        return _push(found, found.get("after"), found.get("ref"), _at(found, "pusher", "name"))
    if event == "pull_request":
        if found.get("action") != "closed" or _at(found, "pull_request", "merged") is not True:
            return Ignored("the pull request was not merged")
        commit, ref = _at(found, "pull_request", "merge_commit_sha"), _at(found, "pull_request", "base", "ref")
        return _push(found, commit, ref, _at(found, "pull_request", "merged_by", "login"))
    return Ignored(f"GitHub's event {shown(event)} is no push and no merge")


def _gitlab(found: Mapping[str, Any]) -> Push | Ignored:
    kind = found.get("object_kind")
    if kind == "push":
        return _push(found, found.get("after"), found.get("ref"), found.get("user_username"))
    if kind == "merge_request":
        if _at(found, "object_attributes", "action") != "merge":
            return Ignored("the merge request was not merged")
        commit, ref = (
            _at(found, "object_attributes", "merge_commit_sha"),
            _at(found, "object_attributes", "target_branch"),
        )
        return _push(found, commit, ref, _at(found, "user", "username"))
    return Ignored(f"GitLab's event {shown(kind)} is no push and no merge")


def _push(found: Mapping[str, Any], commit: object, ref: object, by: object) -> Push:
    if (
        not isinstance(commit, str)
        or not COMMIT.fullmatch(commit)
        or not isinstance(ref, str)
        or not ref
        or control(ref)
    ):
        raise Refused(400, f"the webhook names no commit and branch: commit {shown(commit)}, branch {shown(ref)}")
    name = by if isinstance(by, str) and by and control(by) is None else None
    return Push(commit, ref[:LONGEST_REF], None if name is None else name[:LONGEST_REF])


def _at(found: object, *path: str) -> Any:
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
