"""The demo's report as Markdown."""

from __future__ import annotations

from typing import Any

from dp3d_core.engines.photos import photo_line, photo_warnings

_FILES = {
    "portrait.png": "the photo with the crop that was chosen, and the crop with its matte",
    "views/": "frames, masks and exact cameras: a view set",
    "cameras.json": "the camera path",
    "contact_sheet.png": "all views side by side",
    "fit/": "the radiance field and the dataset it was fitted to; report/report.html shows it",
    "head_rigged.glb": "the fitted head with ARKit's 52 blend shapes, bones, eyes and teeth, in "
    "metres",
    "head_rigged.png": "some expressions of the rigged head, and its sides and back",
    "head_fitted.glb": "the fitted head itself as one textured mesh, in the same frame as head.glb",
    "head.glb": "the mesh of the radiance field: glTF, Y up, face to +Z, a head unit is a metre",
    "meshes.png": "both meshes, the fitted head on the left, textured and as plain clay",
    "turntable.gif": "the mesh all around, textured and as plain clay",
}
"""Files of the demo and their meaning."""


def report_lines(report: dict[str, Any]) -> list[str]:
    """Lines of ``report.md`` for the content of ``report.json``."""
    stages = report["stages"]
    portrait, mesh, fitted = stages["portrait"], stages["mesh"], stages["fitted head"]
    rigged = stages["rigged head"]
    cameras, photos = report["cameras"], stages["views"].get("photos", [])
    return [
        "# dp3d demo",
        "",
        f"Photo `{report['photo']['name']}` (SHA-256 `{report['photo']['sha256'][:16]}...`), "
        f"dp3d {report['dp3d']}.",
        "",
        "## Portrait",
        "",
        f"- crop: from the {portrait['crop_source']}, confidence {portrait['confidence']:.2f}",
        f"- camera {abs(portrait['yaw_deg']):.0f} degrees from the head's front",
        f"- matte: {portrait['matte_source']}, confidence {portrait['matte_confidence']:.2f}",
        *(f"- note: {warning}" for warning in portrait["warnings"]),
        "",
        "## Rigged head",
        "",
        f"- {rigged['quads']} quads in {rigged['meshes']} meshes, {rigged['keys']} keys",
        f"- {rigged['bytes'] / 2**20:.1f} MiB",
        "",
        "## Views",
        "",
        f"- {stages['views']['count']} views of {cameras['size']} x {cameras['size']} pixels, "
        f"engine `{stages['views']['engine']}`, preset `{cameras['preset']}`",
        *(f"- {photo_line(photo)}" for photo in photos if photo["used"]),
        *(f"- note: {warning}" for warning in photo_warnings(photos)),
        "",
        "## Radiance field",
        "",
        f"- preset `{stages['fit']['preset']}`",
        *(f"- {name}: {_number(value)}" for name, value in stages["fit"]["scores"].items()),
        "",
        "## Fitted head",
        "",
        f"- {fitted['faces']} triangles, {fitted['vertices']} vertices",
        f"- texture {fitted['texture_size']} x {fitted['texture_size']} pixels, hair half of it",
        f"- {fitted['bytes'] / 2**20:.1f} MiB",
        "",
        "## Mesh of the radiance field",
        "",
        f"- {mesh['faces']} triangles, {mesh['vertices']} vertices, "
        f"{'closed' if mesh['watertight'] else 'not closed'}",
        f"- texture {mesh['texture_size']} x {mesh['texture_size']} pixels, "
        f"{100 * mesh['seen']:.0f} % of it seen by some view",
        f"- {mesh['bytes'] / 2**20:.1f} MiB",
        "",
        "## Time",
        "",
        "| stage | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.1f} |" for name, seconds in report["seconds"].items()),
        f"| all | {sum(report['seconds'].values()):.1f} |",
        "",
        "Stages that an earlier run had finished count with the time they took then.",
        "",
        "## Files",
        "",
        *(f"- `{name}`: {meaning}" for name, meaning in _FILES.items()),
    ]


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
