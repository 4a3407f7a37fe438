"""Markup in which text is escaped unless it was made here."""

import html
import json


class Html(str):
    """Markup that may stand in the page as it is. Any other text is escaped."""


def tag(name: str, *inside: object, **attributes: object) -> Html:
    """An element; ``class_`` and ``aria_label`` give the attributes class and aria-label, None gives none."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{shown}>{join(*inside)}</{name}>")


def join(*parts: object) -> Html:
    """The parts one after another, text among them escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(str(part)) for part in parts))


def script_data(data: object) -> Html:
    """Data as the content of a script element, which nothing in it can end."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def table(head: list[object], rows: list[list[object]], label: str, class_: str | None = None) -> Html:
    """A table in a box of its own that scrolls sideways; the first column stays in sight."""
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    whole = tag("table", top, tag("tbody", *body), class_=class_)
    return tag("div", whole, class_="scroll", role="region", tabindex="0", aria_label=label)


def small(*parts: object) -> Html:
    return tag("small", *parts)


def missing(why: object) -> Html:
    """A number that is not there, and why."""
    return tag("span", "not measured", small(why), class_="missing")


def absent(*why: object) -> Html:
    """A whole part that is not there, and why."""
    return tag("p", "Not measured: ", *why, class_="missing")


def folded(title: object, *inside: object) -> Html:
    return tag("details", tag("summary", title), *inside)
