"""The command line as a user or a script meets it: real processes, exit codes, --json."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from dp3d_core.camera_files import cameras_to_dict
from dp3d_core.preview.choices import choices_line
from dp3d_core.trajectories import full_orbit
from dp3d_core.viewset import ViewSet
from tests.conftest import REPOSITORY


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def dp3d(home):
    def run(*arguments, timeout_s=300, **environment):
        return subprocess.run(
            [sys.executable, "-m", "server.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=os.environ | {"DP3D_HOME": str(home), "COLUMNS": "100"} | environment,
        )

    return run


def result(run):
    """The one JSON object on standard output."""
    assert len(run.stdout.splitlines()) == 1, run.stdout + run.stderr
    return json.loads(run.stdout)


def small(*more):
    return ("--views", 3, "--size", 32, *more)


class TestUsage:
    def test_help_names_every_command_of_the_page(self, dp3d):
        first_block = (REPOSITORY / "docs/cli.md").read_text("utf-8").split("```")[1]
        documented = set(re.findall(r"^dp3d ([a-z-]+)", first_block, re.M))
        shown = re.search(r"\{([a-z,-]+)\}", dp3d("--help").stdout)
        assert set(shown[1].split(",")) == documented

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("dance",),
            ("generate",),
            ("generate", "a.png"),
            ("generate", "a.png", "--out", "x", "--views", "many"),
            ("generate", "a.png", "--out", "x", "--preset", "spiral"),
            ("setup", "everything"),
        ],
    )
    def test_a_wrong_command_line_exits_with_2_and_says_so_on_stderr(self, dp3d, arguments):
        run = dp3d(*arguments)
        assert run.returncode == 2
        assert run.stdout == ""
        assert run.stderr

    def test_version(self, dp3d):
        assert re.fullmatch(r"dp3d \d+\.\d+\.\d+\n", dp3d("--version").stdout)


class TestGenerate:
    def test_views_are_written(self, dp3d, photo, tmp_path):
        run = dp3d("generate", photo, "--out", tmp_path / "v", *small())
        views = tmp_path / "v"
        assert (run.returncode, run.stdout.splitlines()) == (
            0,
            [
                f"3 views in {views}",
                choices_line(ViewSet.open(views).meta.choices),
                f"look at {views / 'contact_sheet.png'} and {views / 'portrait.png'}",
            ],
        )
        assert (views / "contact_sheet.png").is_file()
        assert (views / "portrait.png").is_file()
        assert len(ViewSet.open(tmp_path / "v")) == 3
        assert "views 3/3" in run.stderr

    def test_json(self, dp3d, photo, tmp_path):
        run = dp3d("generate", photo, "--out", tmp_path / "v", *small("--json"))
        assert run.returncode == 0
        answer = result(run)
        assert answer["ok"] is True
        assert set(answer["result"]) == {
            *("views", "count", "portrait_report", "choices", "warnings"),
        }
        assert answer["result"]["choices"]["hair"]["by_user"] is False
        events = [json.loads(line) for line in run.stderr.splitlines()]
        assert all(set(e) == {"stage", "step", "of", "message", "eta_s", "values"} for e in events)
        assert events[-1]["stage"] == "views"

    def test_camera_file_crop_and_options(self, dp3d, photo, tmp_path):
        cameras = tmp_path / "path.json"
        cameras.write_text(json.dumps(cameras_to_dict(full_orbit(2, size=40))))
        run = dp3d(
            *("generate", photo, "--out", tmp_path / "v", "--cameras", cameras),
            *("--crop", 30, 0, 460, "--option", "background=#102030"),
        )
        assert run.returncode == 0, run.stderr
        views = ViewSet.open(tmp_path / "v")
        assert (len(views), views.cameras[0].width) == (2, 40)
        assert views.meta.background == (16, 32, 48)

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("nobody.jpg",), "portrait.not_found"),
            ((__file__,), "portrait.unreadable"),
            (("PHOTO", "--engine", "magic"), "engine.unknown"),
            (("PHOTO", "--option", "colour"), "engine.bad_option"),
            (("PHOTO", "--option", "colour=3"), "engine.bad_option"),
            (("PHOTO", "--views", "0"), "camera.invalid"),
            (("PHOTO", "--cameras", "nothing.json"), "camera.file_invalid"),
            (("PHOTO", "--cameras", __file__), "camera.file_invalid"),
            (("PHOTO", "--cameras", "DEEP"), "camera.file_invalid"),
            (("PHOTO", "--crop", "9999", "0", "10"), "portrait.bad_crop"),
            (("PHOTO", "--head-yaw-deg", "nan"), "portrait.bad_turn"),
            (("PHOTO", "--pitch-deg", "5", "--head-pitch-deg", "81"), "portrait.bad_turn"),
            (("PHOTO", "--seed", "-1"), "engine.bad_option"),
        ],
    )
    def test_bad_input_exits_with_3_and_its_code(self, dp3d, photo, tmp_path, arguments, code):
        deep = tmp_path / "deep.json"
        deep.write_text("[" * 100_000)
        arguments = [{"PHOTO": photo, "DEEP": deep}.get(a, a) for a in arguments]
        run = dp3d("generate", *arguments, "--out", tmp_path / "v", "--json")
        assert run.returncode == 3
        answer = result(run)
        assert answer["ok"] is False
        assert answer["error"]["code"] == code
        assert answer["error"]["problem"]
        assert answer["error"]["remedy"]
        assert "Traceback" not in run.stderr

    @pytest.mark.parametrize("name", ["portrait.png", "contact_sheet.png", "frames/0000.png"])
    @pytest.mark.parametrize("command", ["generate", "demo"])
    def test_the_photo_itself_is_never_overwritten(self, dp3d, photo, tmp_path, name, command):
        mine = tmp_path / "mine" / name
        mine.parent.mkdir(parents=True)
        mine.write_bytes(photo.read_bytes())
        run = dp3d(command, mine, "--out", tmp_path / "mine", "--views", "3", "--json")
        assert result(run)["error"]["code"] == "output.occupied"
        assert [p for p in (tmp_path / "mine").rglob("*") if p.is_file()] == [mine]
        assert mine.read_bytes() == photo.read_bytes()

    def test_an_error_for_people(self, dp3d, tmp_path):
        run = dp3d("generate", "nobody.jpg", "--out", tmp_path / "v")
        assert run.stdout == ""
        assert run.stderr.startswith("error: There is no photo at nobody.jpg.\n")
        assert "[portrait.not_found]" in run.stderr

    @pytest.mark.skipif(os.name == "nt", reason="signals of another kind there")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_keeps_the_work_and_the_same_command_goes_on(
        self, dp3d, photo, tmp_path, home, number
    ):
        arguments = ("generate", photo, "--out", tmp_path / "v", "--views", 40, "--size", 96)
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli.main", *map(str, arguments), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"DP3D_HOME": str(home)},
        )
        for line in process.stderr:
            event = json.loads(line)
            if event["stage"] == "views" and event["step"] == 5:
                break
        process.send_signal(number)
        answer, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert json.loads(answer)["error"]["code"] == "job.cancelled"
        kept = 40 - len(ViewSet.open(tmp_path / "v", complete=False).missing())
        assert 5 <= kept < 40
        run = dp3d(*arguments, "--json")
        assert run.returncode == 0
        views = [json.loads(line) for line in run.stderr.splitlines()]
        assert next(e["step"] for e in views if e["stage"] == "views") == kept


class TestOthers:
    def test_bench_measures_a_server_of_its_own(self, dp3d):
        run = dp3d("bench", "status", "--requests", 5, "--json")
        assert run.returncode == 0, run.stderr
        data = result(run)["result"]
        assert 0 < data["busy_ms"]["p50"] <= data["busy_ms"]["p99"]
        assert data["idle_ms"]["p50"] > 0

    def test_bench_measures_synthetic_heads(self, dp3d):
        run = dp3d("bench", "synth", "--count", 1, "--size", 32, "--json")
        assert run.returncode == 0, run.stderr
        data = result(run)["result"]
        assert 0 < data["view_s"] <= data["slowest_view_s"]
        run = dp3d("bench", "synth", "--count", 0, "--json")
        assert result(run)["error"]["code"] == "server.bad_request"

    @pytest.mark.nerf
    def test_bench_measures_the_ways_from_views_to_a_mesh(self, dp3d, tmp_path, nerf_environment):
        run = dp3d(
            *("bench", "nerf", "--seeds", 9001, "--views", 12, "--size", 64, "--preset", "tiny"),
            *("--faces", 2000, "--texture-size", 128, "--out", tmp_path / "out", "--json"),
            DP3D_NERF_PYTHON=str(nerf_environment),
        )
        assert run.returncode == 0, run.stderr
        (case,) = result(run)["result"]["cases"]
        assert case["way"] == "distance"
        assert case["components"] == 1
        assert case["watertight"]
        assert case["chamfer"] < 0.06
        assert 0.2 < case["f_score"] <= 1
        assert case["texture_psnr"] > 12
        assert (tmp_path / "out/009001/compare.png").is_file()

    @pytest.mark.nerf
    @pytest.mark.slow
    @pytest.mark.timeout(1200)
    def test_a_head_is_measured_as_well_as_promised(self, dp3d, tmp_path, nerf_environment):
        """The bounds of docs/benchmarks.md, but for the time."""
        run = dp3d(
            *("bench", "nerf", "--seeds", 9001, "--out", tmp_path / "out", "--json"),
            timeout_s=1100,
            DP3D_NERF_PYTHON=str(nerf_environment),
        )
        assert run.returncode == 0, run.stderr
        (case,) = result(run)["result"]["cases"]
        assert case["psnr"] >= 28
        assert case["texture_psnr"] >= 25
        assert max(case["to_truth"], case["to_surface"]) <= 0.01
        assert case["f_score"] >= 0.95
        assert (case["components"], case["watertight"]) == (1, True)
        assert max(case["lips"], case["iris"]) <= 0.05

    @pytest.mark.nerf
    def test_a_comparison_says_at_once_what_it_lacks(self, dp3d, tmp_path, nerf_environment):
        there = [nerf_environment, "-c", "import open3d, pymeshlab"]
        if subprocess.run(there, check=False, capture_output=True).returncode == 0:
            pytest.skip("the NeRF environment has the packages that this is about")
        run = dp3d(
            *("bench", "nerf", "--compare", "--out", tmp_path / "out"),
            DP3D_NERF_PYTHON=str(nerf_environment),
        )
        assert run.returncode == 4
        assert "nerf.package_missing" in run.stderr
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    @pytest.mark.nerf
    def test_bench_fits_the_published_frames(
        self, dp3d, tmp_path, nerf_environment, official_outputs
    ):
        run = dp3d(
            *("bench", "official", "--data", official_outputs, "--fit", "tiny"),
            *("--out", tmp_path / "out", "--json"),
            DP3D_NERF_PYTHON=str(nerf_environment),
        )
        assert run.returncode == 0, run.stderr
        fits = result(run)["result"]["fits"]
        assert set(fits) == {"0000028", "0000380"}
        assert fits["0000380"]["foreground_psnr"] > 14
        for name in fits:
            assert (tmp_path / "out" / name / "sheet.png").is_file()
            assert (tmp_path / "out" / name / "fit/report/report.html").is_file()
        run = dp3d("bench", "official", "--data", official_outputs, "--fit", "tiny", "--json")
        assert result(run)["error"]["code"] == "server.bad_request"

    @pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
    def test_a_reader_that_goes_away_is_no_error(self, home):
        command = f"{sys.executable} -m server.cli.main engines; echo $? >&2"
        run = subprocess.run(
            ["bash", "-c", f"({command}) | true"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"DP3D_HOME": str(home)},
        )
        assert run.stderr.strip() == "0"

    def test_limits_of_the_api_are_those_of_the_work(self):
        from nerf_export.mesh import MAX_FACES, MAX_TEXTURE, MIN_FACES, MIN_TEXTURE
        from server.web.requests import MeshParams

        fields = MeshParams.model_json_schema()["properties"]
        limits = {name: (f.get("minimum"), f.get("maximum")) for name, f in fields.items()}
        assert limits["faces"] == (MIN_FACES, MAX_FACES)
        assert limits["texture_size"] == (MIN_TEXTURE, MAX_TEXTURE)

    def test_engines(self, dp3d):
        engines = result(dp3d("engines", "--json"))["result"]["engines"]
        assert engines[0]["name"] == "preview"
        assert "preview:" in dp3d("engines").stdout

    def test_fit_without_views(self, dp3d, tmp_path):
        run = dp3d("fit", tmp_path, "--out", tmp_path / "fit", "--json")
        assert (run.returncode, result(run)["error"]["code"]) == (3, "viewset.not_found")

    @pytest.mark.parametrize(
        ("command", "out", "code"),
        [
            ("mesh", "head.glb", "fit.not_found"),
            ("mesh", "head.stl", "output.not_writable"),
            ("render", "views", "fit.not_found"),
        ],
    )
    def test_mesh_and_render_without_a_fit(self, dp3d, tmp_path, command, out, code):
        run = dp3d(command, tmp_path, "--out", tmp_path / out, "--json")
        assert (run.returncode, result(run)["error"]["code"]) == (3, code)

    def test_fit_without_its_environment(self, dp3d, photo, tmp_path):
        dp3d("generate", photo, "--out", tmp_path / "v", "--views", 8, "--size", 32)
        run = dp3d(
            "fit", tmp_path / "v", "--out", tmp_path / "fit", "--json", DP3D_NERF_PYTHON="/nope"
        )
        assert (run.returncode, result(run)["error"]["code"]) == (4, "nerf.environment_missing")

    def test_doctor(self, dp3d):
        run = dp3d("doctor", "--json", DP3D_NERF_PYTHON="/nope")
        findings = {f["name"]: f for f in result(run)["result"]["findings"]}
        assert run.returncode == 0, findings
        assert findings["python"]["status"] == "ok"
        assert findings["NeRF environment"]["status"] == "warn"
        assert findings["NeRF environment"]["remedy"]
        assert findings["home"]["status"] == "ok"

    def test_doctor_says_what_is_needed_and_exits_with_4(self, dp3d, tmp_path):
        (tmp_path / "file").write_text("in the way")
        run = dp3d("doctor", DP3D_HOME=str(tmp_path / "file"))
        assert run.returncode == 4
        assert "FAIL  home" in run.stdout

    def test_doctor_knows_the_packages_of_every_extra(self):
        import tomllib

        from server.cli.doctor import PACKAGES

        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
        for extra, names in PACKAGES.items():
            wanted = [
                re.split(r"[^A-Za-z0-9_-]", requirement)[0]
                for requirement in project["optional-dependencies"][extra]
            ]
            assert sorted(names) == sorted(wanted)

    def test_a_defect_leaves_a_log_and_no_traceback(self, dp3d, home, photo, tmp_path):
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "cv2.py").write_text("raise RuntimeError('broken on purpose')")
        arguments = ("generate", photo, "--out", tmp_path / "v", "--json")
        run = dp3d(*arguments, PYTHONPATH=str(broken))
        assert run.returncode == 1
        error = result(run)["error"]
        assert error["code"] == "internal"
        assert "Traceback" not in run.stderr
        (log,) = (home / "logs").iterdir()
        assert str(log) in error["remedy"]
        assert "broken on purpose" in log.read_text()
        assert "broken on purpose" in dp3d(*arguments, "--debug", PYTHONPATH=str(broken)).stderr


class TestServeToken:
    def start(self, home, data, *more, **environment):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server.cli.main", "serve", "--port", "0", "--json"),
                *("--data", str(data), *more),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"DP3D_HOME": str(home)} | environment,
        )
        answer = json.loads(process.stdout.readline())["result"]
        return process, answer

    def stop(self, process):
        process.terminate()
        process.communicate(timeout=20)
        return process.returncode

    def test_a_token_is_made_once_and_kept_private(self, home, tmp_path):
        from server.client import Client

        tokens = []
        for _ in range(2):
            process, answer = self.start(home, tmp_path / "data")
            path = home / "token"
            assert answer["token_file"] == str(path)
            assert path.stat().st_mode & 0o777 == 0o600
            tokens.append(path.read_text().strip())
            with Client(answer["url"], tokens[-1]) as client:
                assert client.jobs() == []
            assert self.stop(process) == 0
        assert tokens[0] == tokens[1]
        assert len(tokens[0]) >= 40

    def test_the_variable_is_taken_and_nothing_is_written(self, home, tmp_path):
        from server.client import Client

        process, answer = self.start(home, tmp_path / "data", DP3D_TOKEN="from-the-variable")
        assert answer["token_file"] is None
        assert not (home / "token").exists()
        with Client(answer["url"], "from-the-variable") as client:
            assert client.jobs() == []
        assert self.stop(process) == 0

    def test_a_token_that_no_header_can_carry(self, dp3d):
        run = dp3d("serve", "--token", "two words", "--json")
        assert (run.returncode, result(run)["error"]["code"]) == (3, "server.bad_request")

    def test_it_listens_on_loopback_only(self, home, tmp_path):
        process, answer = self.start(home, tmp_path / "data", "--token", "t")
        assert answer["url"].startswith("http://127.0.0.1:")
        assert self.stop(process) == 0
