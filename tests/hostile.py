"""Texts that would like to become something else on a page, and how it is seen that they did not."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Page

from assay.dashboard.inert import JOINER

HOSTILE = [
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=2'><a href='https://evil.example/a'>x</a>",
    "![x](https://evil.example/i.png) [click](https://evil.example/l) <https://evil.example/auto>",
    ":red[alarm] :material/home: :streamlit: :smile: :red-badge[b] :color[x]{foreground='red'} :help[x]",
    "$x^2$ $$y$$ `code` **bold** _it_ ~~gone~~ -> <- <-> -- >= ~=",
    "https://evil.example/b www.evil.example mail@evil.example &amp; &lt;img src=x&gt; \\ \\* \\[x\\]",
    "[ref][1] [1]: https://evil.example/ref [x](javascript:alert(1)) <svg onload=alert(1)><style>*{display:none}",
    '=HYPERLINK("https://evil.example/csv","x") +1 -1 @SUM(1) | # heading - list > quote 1. one',
    "left \u202etfel\u202c \u2066isolated\u2069 \u200b zero\u0000width \u001b[31mred",
    "W" * 3000,
]

MARKUP = "img, iframe, object, embed, script, style, svg[onload], .katex, em, del, code"
"""What such text would like to become, inside of what pages write."""

_WRITTEN = (
    "[data-testid=stMarkdownContainer], [data-testid=stCaptionContainer], [data-testid=stText], #vg-tooltip-element"
)

_FOUND = """
() => {
  const away = [...document.querySelectorAll('a[href], [src], use[href]')]
    .map(one => one.href?.baseVal ?? one.href ?? one.src)
    .filter(url => url && !url.startsWith(location.origin + '/') && !/^(data|blob):/.test(url));
  const handlers = [...document.querySelectorAll('[onerror], [onload], [onclick]')].map(one => one.outerHTML);
  const wide = document.documentElement.scrollWidth > innerWidth + 1 ? ['wider than the window'] : [];
  return {pwned: window.pwned ?? null, away, handlers, wide};
}
"""


def assert_inert(page: Page) -> None:
    """Nothing on the page is what hostile text would like to be, nor does anything on it lead away."""
    assert page.evaluate(_FOUND) == {"pwned": None, "away": [], "handlers": [], "wide": []}
    markup = page.locator(_WRITTEN).locator(MARKUP)
    assert markup.evaluate_all("found => found.map(one => one.outerHTML)") == []
    for became in ("alarm", "\N{SMILING FACE WITH OPEN MOUTH AND SMILING EYES}"):
        assert page.get_by_text(became, exact=True).count() == 0
    assert page.locator("[aria-label='home icon']").count() == 0


def shown_text(page: Page) -> str:
    """All that the page shows and tells screen readers, tables and charts too, without what parts words invisibly."""
    return str(page.evaluate("document.body.textContent")).replace(JOINER, "")


class Requests:
    """Records every request of a page, also of its sockets."""

    def __init__(self, page: Page) -> None:
        self.urls: list[str] = []
        page.on("request", lambda request: self.urls.append(request.url))
        page.on("websocket", lambda socket: self.urls.append(socket.url))

    def hosts(self) -> set[str]:
        """Whom it asked."""
        return {urlsplit(url).netloc for url in self.urls if not url.startswith(("data:", "blob:"))}
