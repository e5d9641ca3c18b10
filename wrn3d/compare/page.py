"""Write a comparison as one HTML page that needs no other file."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wrn3d.compare import report
from wrn3d.compare.comparison import Comparison
from wrn3d.system.files import write_atomic

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TensorLayer and Keras: {verdict}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; color: #1d2530; max-width: 60rem; margin: 0 auto;
  padding: 1rem; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
.verdict {{ padding: .75rem 1rem; border-radius: .4rem; font-weight: 600; background: {colour};
  overflow-wrap: anywhere; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .75rem; text-align: right; border-bottom: 1px solid #d9dee5;
  white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
img {{ width: 100%; height: auto; }}
figure {{ margin: 1rem 0; }} figcaption, footer, .small {{ color: #5a6675; font-size: .875rem; }}
code {{ overflow-wrap: anywhere; }}
@media (max-width: 32rem) {{
  table {{ font-size: .8125rem; }} th, td {{ padding: .3rem .35rem; }}
  td:first-child {{ white-space: normal; overflow-wrap: anywhere; }}
}}
@media (min-width: 50rem) {{
  .figures {{ display: grid; grid-template-columns: 1fr 1fr; column-gap: 1.5rem; }}
}}
</style>
</head>
<body>
<h1>TensorLayer and Keras, side by side</h1>
<p>{title}</p>
<p class="verdict">{verdict}</p>
<div class="scroll">{summary}</div>
<p class="small">{note}</p>
<div class="figures">
{figures}
</div>
<h2>Largest differences</h2>
<div class="scroll">{largest}</div>
<p class="small">The largest absolute differences between the two sides: of the losses over all
iterations, and of the logits of the first test volumes and the weights at the end.</p>
<h2>By parameter</h2>
<div class="scroll">{parameters}</div>
<h2>Settings</h2>
<p><code>{settings}</code></p>
<footer><p>{machine}</p></footer>
</body>
</html>
"""
NOTE = (
    "Both sides start from the same weights, train on the same batches and compute with the same "
    "operations. Each runs in a process of its own, and the two iterate in turn. images/s leaves "
    "out the first iteration, which builds the graph. The time to the first step counts from the "
    "start of the process. Memory is the peak of the process."
)


def write(
    path: Path,
    comparisons: Sequence[Comparison],
    verdict: str,
    agrees: bool,
    pictures: dict[str, Path],
    settings: dict[str, Any],
    machine: str,
) -> None:
    """Write the page and embed the `pictures`, {caption: path of a PNG}."""
    figures = "\n".join(
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(picture.read_bytes()).decode()}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, picture in pictures.items()
    )
    content = PAGE.format(
        title=html.escape(comparisons[0].title),
        verdict=html.escape(verdict),
        colour="#d8f0dd" if agrees else "#fbdcd9",
        summary=_table(*report.summary_rows(comparisons)),
        note=NOTE,
        figures=figures,
        largest=_table(*report.largest_rows(comparisons)),
        parameters=_table(*report.parameter_rows(comparisons)),
        settings=html.escape(" ".join(f"{name}={value}" for name, value in settings.items())),
        machine=html.escape(machine),
    )
    write_atomic(path, content.encode())


def _table(titles, rows):
    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(titles, 'th')}</thead><tbody>\n{body}\n</tbody></table>"
