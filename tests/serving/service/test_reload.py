"""Hot reload: a new version takes over without a failed request, and a broken one never does."""

import shutil
import signal
import threading

import httpx
import pytest
from rich.console import Console

from learec.progress import Reporter
from learec.serving.choose import choose_agent
from learec.serving.export import export

OFTEN = ("--reload-seconds", "0.1")


def versions(ready):
    return {model["name"]: model["version"] for model in ready["models"]}


def answer(server, ids):
    """Who answers, and with what scores."""
    reply = server.post("/recommend", {"history": ids[1:4], "model": "sasrec"}).json()
    return reply["model"]["version"], [item["score"] for item in reply["answers"][0]["items"]]


def test_a_new_version_takes_over_and_every_request_meanwhile_is_answered_by_one_or_the_other(trained_copy, start, retrain, ids):
    server = start(trained_copy, *OFTEN)
    old = answer(server, ids)
    stop, seen, failed = threading.Event(), [], []

    def ask():
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as client:
            while not stop.is_set():
                reply = client.post("/recommend", json={"history": ids[1:4], "model": "sasrec"})
                if reply.status_code != 200:
                    failed.append(reply.text)
                    return
                found = reply.json()
                scores = [item["score"] for item in found["answers"][0]["items"]]
                seen.append((found["model"]["version"], scores, reply.headers["X-Learec-Model"]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    retrain(trained_copy / "agents/sasrec/seed-0")
    server.eventually(lambda ready: versions(ready)["sasrec/0"] != old[0])
    new, n_seen = answer(server, ids), len(seen)
    server.eventually(lambda _: failed or len(seen) > n_seen + 4)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {version for version, _, _ in seen} == {old[0], new[0]}
    for version, scores, header in seen:
        assert header == f"sasrec/0@{version}"
        assert scores == pytest.approx((old if version == old[0] else new)[1], abs=1e-4)
    assert new[1] != pytest.approx(old[1], abs=1e-3)


@pytest.fixture
def damage(served_run, retrain, forge):
    """Ways to break an agent's folder."""

    def cut(folder):
        weights = folder / "agent.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        touch(folder)

    def touch(folder):
        manifest = folder / "manifest.json"
        manifest.write_text(manifest.read_text() + "\n")

    def remove(folder):
        (folder / "agent.safetensors").unlink()
        touch(folder)

    def of_another(folder):
        forge(folder, "agent.safetensors", (served_run / "agents/untied/seed-0/agent.safetensors").read_bytes())

    return {
        "cut": cut, "remove": remove, "of another": of_another, "not numbers": lambda folder: retrain(folder, nan=True),
        "no manifest": lambda folder: (folder / "manifest.json").write_text("{"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("how", "reason"),
    [("cut", "damaged"), ("remove", "missing"), ("of another", "holds no weights of this agent"),
     ("not numbers", "recommends nothing in a trial"), ("no manifest", "damaged")],
)  # fmt: skip
def test_a_broken_version_is_refused_and_the_old_one_goes_on(trained_copy, start, ids, damage, how, reason):
    server = start(trained_copy, *OFTEN)
    before = answer(server, ids)
    damage[how](trained_copy / "agents/sasrec/seed-0")
    found = server.eventually(lambda ready: ready["refused"])
    assert found["ready"] is True
    assert [refused["name"] for refused in found["refused"]] == ["sasrec/0"]
    assert reason in found["refused"][0]["reason"] and "\n" not in found["refused"][0]["reason"]
    assert answer(server, ids) == before
    counted = server.get("/metrics").text
    assert "learec_refused_models 1.0" in counted and 'learec_reloads_total{result="refused"} 1.0' in counted
    assert "the model before it goes on" in server.log.read_text()


def test_after_a_broken_version_a_good_one_takes_over(trained_copy, served_run, start, retrain, ids):
    server, folder = start(trained_copy, *OFTEN), trained_copy / "agents/sasrec/seed-0"
    before = answer(server, ids)
    retrain(folder, nan=True)
    server.eventually(lambda ready: ready["refused"])
    shutil.rmtree(folder)
    shutil.copytree(served_run / "agents/sasrec/seed-0", folder)
    retrain(folder, seed=2)
    server.eventually(lambda ready: not ready["refused"] and versions(ready)["sasrec/0"] != before[0])
    assert answer(server, ids)[0] != before[0]


def test_without_polling_a_new_version_comes_with_sighup(trained_copy, start, retrain, ids):
    server = start(trained_copy, "--reload-seconds", "0")
    old = answer(server, ids)[0]
    retrain(trained_copy / "agents/sasrec/seed-0")
    for _ in range(10):
        assert answer(server, ids)[0] == old
    server.process.send_signal(signal.SIGHUP)
    server.eventually(lambda ready: versions(ready)["sasrec/0"] != old)


def test_an_export_made_meanwhile_takes_over_with_the_same_answers(trained_copy, start, ids):
    server = start(trained_copy, *OFTEN)
    old = answer(server, ids)
    export(choose_agent(trained_copy, "sasrec"), Reporter(Console(quiet=True)))
    server.eventually(lambda ready: versions(ready)["sasrec/0"] != old[0])
    assert answer(server, ids)[1] == pytest.approx(old[1], abs=1e-4)


def test_an_agent_that_goes_away_is_served_on_and_a_new_one_joins(trained_copy, start, ids):
    server = start(trained_copy, *OFTEN)
    before = versions(server.get("/ready").json())
    (trained_copy / "agents/sasrec").rename(trained_copy / "agents/renamed")
    found = server.eventually(lambda ready: len(ready["models"]) == 3)
    assert versions(found) == {**before, "renamed/0": before["sasrec/0"]}
    assert server.recommend(ids[1:4], model="sasrec") == server.recommend(ids[1:4], model="renamed")


def test_only_named_agents_are_served_the_first_as_default_and_none_joins(trained_copy, start, ids):
    server = start(trained_copy, *OFTEN, "--agents", "untied")
    assert [model["name"] for model in server.get("/models").json()["models"]] == ["untied/0"]
    shutil.copytree(trained_copy / "agents/sasrec", trained_copy / "agents/other")
    server.process.send_signal(signal.SIGHUP)
    both = start(trained_copy, "--agents", "untied,sasrec/0")
    listed = both.get("/models").json()["models"]
    assert [(model["name"], model["default"]) for model in listed] == [("untied/0", True), ("sasrec/0", False)]
    # The first server has looked meanwhile, many times.
    assert server.post("/recommend", {"history": ids[1:2], "model": "other"}).status_code == 404


def test_the_log_may_be_away_where_only_exports_are_served(run_copy, start, ids):
    for path in (run_copy / "log").iterdir():
        if path.name not in ("manifest.json", "catalog.arrow"):
            path.unlink()
    shutil.rmtree(run_copy / "agents")
    server = start(run_copy)
    assert len(server.recommend(ids[1:4])["items"]) == 10
    reply = server.get("/sessions/random")
    assert reply.status_code == 404 and reply.json()["error"].startswith("the log's sessions are not in the run folder")


@pytest.mark.parametrize("run", ["trained_copy", "run_copy"])
@pytest.mark.parametrize("left", [0, 100, None])
def test_files_that_are_overwritten_in_place_change_nothing_of_what_is_served(run, left, request, start, ids):
    folder = request.getfixturevalue(run)
    server = start(folder, *OFTEN)
    paths = [("/recommend", {"history": ids[1:4], "model": model, "allow": ids[1:20]}) for model in ("sasrec", "untied")]
    before = [server.post(*path).json() for path in paths], server.get("/items?query=a").json()
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            with path.open("r+b") as file:
                file.truncate(left)
                file.write(b"\xff" * 64)
    assert ([server.post(*path).json() for path in paths], server.get("/items?query=a").json()) == before
    for _ in range(20):
        assert server.get("/sessions/random").json()["next"]
    (server.process.send_signal(signal.SIGHUP), answer(server, ids))
    assert server.get("/ready").json()["refused"] == []  # no manifest has changed
