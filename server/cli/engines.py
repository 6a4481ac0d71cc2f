"""``dp3d engines``: lists the engines and their options."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass

from server.cli.console import Common, Console, Outcome, count_of
from server.json_ready import json_ready


@dataclass
class Engines(Common):
    """The engines, whether they can run here, and their options."""

    def run(self, _console: Console) -> Outcome:
        """List the engines."""
        from dp3d_core.engines.options import option_summary
        from dp3d_core.engines.registry import list_engines

        infos, lines = list_engines(), []
        for info in infos:
            lines.append(f"{info.name}: {info.title}")
            lines.append(f"  {'available' if info.available else info.problem}")
            lines.append(f"  takes {count_of(info.references, 'photo')} of a person at most")
            for option in info.options:
                values = option_summary(option)
                lines.append(
                    f"  --option {option['name']}={json.dumps(json_ready(option['default']))}"
                )
                lines += textwrap.wrap(
                    option["description"] + (f" [{values}]" if values else ""),
                    96,
                    initial_indent="      ",
                    subsequent_indent="      ",
                )
        return Outcome({"engines": [asdict(info) for info in infos]}, lines)
