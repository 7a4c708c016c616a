"""Alerts: what fires, what people say of it and silence, the rules, and where messages went."""

from __future__ import annotations

from typing import Any

from assay.client.api.connection import Answer, Api, given, hexadecimal


class Alerts(Api):
    """Incidents, silences, rules and deliveries."""

    def alerts(self, **filters: Any) -> list[Answer]:
        """What the newest calls have beyond the thresholds, gravest first."""
        return self._get("/alerts", filters)["alerts"]

    def incidents(self, **filters: Any) -> list[Answer]:
        """Incidents, newest first: phase= (pending, firing, resolved, cleared), rule=, since=, limit=."""
        return self._get("/incidents", filters)["incidents"]

    def incident(self, incident_id: str) -> Answer:
        """One incident with its evidence and all its events."""
        return self._get(f"/incidents/{hexadecimal(incident_id)}", {})

    def acknowledge(self, incident_id: str, *, author: str = "", text: str = "") -> Answer:
        """Say that somebody is at it."""
        return self._post(f"/incidents/{hexadecimal(incident_id)}/acknowledge", {"author": author, "text": text})

    def comment(self, incident_id: str, text: str, *, author: str = "") -> Answer:
        """Write something down beside an incident."""
        return self._post(f"/incidents/{hexadecimal(incident_id)}/comment", {"author": author, "text": text})

    def silence(self, until: str, *, incident_id: str = "", **said: str) -> Answer:
        """Silence one incident's rule and group, or what matches rule=, group=, severity=; until "2h" or a time."""
        if incident_id:
            return self._post(f"/incidents/{hexadecimal(incident_id)}/silence", said, until=until)
        return self._post("/silences", {**said, "until": until})

    def silences(self, *, active: bool = True) -> list[Answer]:
        """Silences in force, or all."""
        return self._get("/silences", {"active": str(active).lower()})["silences"]

    def end_silence(self, silence_id: str) -> Answer:
        """End a silence now."""
        return self._parsed(self._request("DELETE", f"/silences/{hexadecimal(silence_id)}"))

    def rules(self) -> Answer:
        """`rules` with their state, `channels`, and what is wrong with the file (`problems`)."""
        return self._get("/rules", {})

    def replay(self, rules: str | None = None, **asked: Any) -> Answer:
        """What rules (a text, else the server's) would have done: since=, until=, only=, at_most_a_week=, points=."""
        body = {"rules": rules, **asked}
        return self._parsed(self._request("POST", "/replay", json=given(body), timeout=None))

    def deliveries(self, limit: int = 100) -> list[Answer]:
        """The delivery log, newest first."""
        return self._get("/deliveries", {"limit": limit})["deliveries"]

    def test_channels(self, channel: str | None = None) -> list[Answer]:
        """Send a test message to a channel or all: the delivery log tells what became of it."""
        return self._parsed(self._request("POST", "/alerts/test", {"channel": channel}))["deliveries"]
