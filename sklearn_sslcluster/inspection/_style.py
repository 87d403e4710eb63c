"""The style sheet of the report."""

_LIGHT = ("#0072b2", "#c44e00", "#007a58", "#a8447f", "#8a6500", "#1b7fa8", "#5b4fb0", "#5f7a00", "#b0303a", "#606060")
_DARK = ("#5ab4f0", "#ff9350", "#3ed0a4", "#f29ccb", "#f0c04a", "#7fd4f5", "#b0a6ff", "#b6d64a", "#ff8f94", "#b8b8b8")


def _palette(colors: tuple[str, ...]) -> str:
    return ";".join(f"--k{i}:{color}" for i, color in enumerate(colors))


_RULES = """
.R{color:var(--text);background:var(--paper);font:16px/1.5 system-ui,sans-serif;padding:1rem;overflow-wrap:anywhere}
main.R{max-width:60rem;margin:0 auto;min-height:100vh;box-sizing:border-box}
.R h1,.R h3{font-size:clamp(1.2rem,5vw,1.6rem);line-height:1.25;margin:.2em 0 .5em}
.R h2,.R h4{font-size:1.15rem;margin:1.4em 0 .5em}
.R summary{cursor:pointer;padding:.3rem 0}
.R summary h2,.R summary h4{display:inline;margin:0}
.R details{border-top:1px solid var(--line);padding:.3rem 0}
.R figure{margin:0 0 1rem}
.R .shape{white-space:nowrap}
.R figcaption,.R p{max-width:46rem}
.R figcaption,.R caption{color:inherit;font-size:.95rem;font-weight:400;text-align:left}
.R svg{display:block;width:100%;max-width:46rem;height:auto;background:var(--shade);border-radius:6px}
.R svg path{fill:currentColor;fill-opacity:.65}
.R svg text{fill:var(--text);stroke:var(--shade);stroke-width:4px;paint-order:stroke;\
font:bold 17px system-ui,sans-serif;text-anchor:middle;dominant-baseline:middle}
.R .wide{overflow-x:auto;margin:.6rem 0}
.R table{border-collapse:collapse;font-variant-numeric:tabular-nums;color:inherit}
.R caption{caption-side:top;font-weight:600;padding:.3rem 0}
.R th,.R td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--line);color:inherit;background:none;\
overflow-wrap:normal}
.R th[scope=row],.R th:first-child{text-align:left}
@media (max-width:30rem){.R th,.R td{padding:.2rem .4rem}.R caption{max-width:calc(100vw - 3rem)}}
.R :focus-visible{outline:3px solid var(--k0);outline-offset:2px}
"""

STYLE = (
    f".R{{--text:#1a1a1a;--paper:#fff;--shade:#f3f4f6;--line:#c9ccd1;{_palette(_LIGHT)}}}"
    "@media (prefers-color-scheme:dark){"
    f".R{{--text:#ececec;--paper:#16181c;--shade:#22252b;--line:#484d55;{_palette(_DARK)}}}}}"
    f"{_RULES}{''.join(f'.R .k{i}{{color:var(--k{i})}}' for i in range(len(_LIGHT)))}"
    "@media (prefers-color-scheme:dark){body:has(>main.R){background:#16181c}}"
).replace(".R", ".sslcluster-report")
