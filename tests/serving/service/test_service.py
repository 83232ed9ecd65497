"""The routes of a real server: what they answer, and that they answer what the Recommender does."""

import numpy as np
import pytest

from learec.data.log import load_log
from learec.serving.recommender import Query


@pytest.fixture(scope="session")
def histories(exported_run, ids):
    """1,000 histories of 0 to 20 items, some of which the model does not know."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(ids[1:], rng.integers(0, 21)).tolist() for _ in range(1000)]
    return [[*history, "nobody"] if number % 10 == 0 else history for number, history in enumerate(drawn)]


def pairs(answer):
    return [(item["item_id"], item["title"]) for item in answer["items"]], [item["score"] for item in answer["items"]]


@pytest.fixture(scope="session")
def wanted(onnx_recommender, histories):
    """What the Recommender answers, one at a time."""
    return [onnx_recommender.answer([Query(tuple(history), 7)])[0] for history in histories]


def assert_same(answers, wanted):
    assert len(answers) == len(wanted)
    for answer, one in zip(answers, wanted, strict=True):
        items, scores = pairs(answer)
        assert items == [(item.item_id, item.title) for item in one.items]
        assert scores == pytest.approx([item.score for item in one.items], abs=1e-4)
        assert (answer["unknown"], answer["fallback"]) == (list(one.unknown), one.fallback)


def test_a_thousand_histories_in_batches_are_answered_as_the_recommender_does(server, histories, wanted):
    replies = [
        server.post("/recommend", {"histories": histories[start : start + 250], "k": 7, "model": "sasrec/0"})
        for start in range(0, 1000, 250)
    ]
    assert_same([answer for reply in replies for answer in reply.json()["answers"]], wanted)


def test_one_history_at_a_time_is_answered_as_the_recommender_does(server, histories, wanted):
    answers = [server.recommend(history, k=7, model="sasrec") for history in histories]
    assert_same(answers, wanted)


def test_filters_reach_the_recommender(server, onnx_recommender, ids):
    members = onnx_recommender.catalog.members
    genre = max(members, key=lambda name: len(members[name]))
    allow = [ids[number] for number in members[genre]][:4] + ids[1:4]
    query = Query((ids[9], ids[8]), 5, exclude=(allow[0],), allow=tuple(allow), within=genre)
    answer = server.recommend([ids[9], ids[8]], k=5, exclude=[allow[0]], allow=allow, within=genre, model="sasrec")
    assert_same([answer], onnx_recommender.answer([query]))
    assert answer["items"]


def test_without_a_name_the_best_on_validation_answers_and_every_reply_says_who_did(server, ids):
    listed = server.get("/models").json()["models"]
    assert {model["name"] for model in listed} == {"sasrec/0", "untied/0"}
    assert [model["default"] for model in listed] == [True, False]
    for model in listed:
        asked = {} if model["default"] else {"model": model["name"]}
        reply = server.post("/recommend", {"history": ids[1:3], **asked})
        assert reply.json()["model"] == {"name": model["name"], "version": model["version"]}
        assert reply.headers["X-Learec-Model"] == f"{model['name']}@{model['version']}"
    first = f"{listed[0]['name']}@{listed[0]['version']}"
    for path in ("/items", "/models", "/sessions/random", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/nothing"):
        assert server.get(path).headers["X-Learec-Model"] == first


def test_the_version_is_the_digest_of_what_is_served(server, exported_run, onnx_recommender):
    versions = {model["name"]: model["version"] for model in server.get("/models").json()["models"]}
    assert versions["sasrec/0"] == onnx_recommender.version


def test_a_model_that_is_not_served_is_refused_with_those_that_are(server, ids):
    reply = server.post("/recommend", {"history": ids[1:2], "model": "sasrec/7"})
    assert reply.status_code == 404
    assert reply.json()["error"] == "model: 'sasrec/7' is not served; served: " + ", ".join(
        model["name"] for model in server.get("/models").json()["models"]
    )


def test_an_unknown_category_is_refused(server, ids):
    reply = server.post("/recommend", {"history": ids[1:2], "within": "polka"})
    assert (reply.status_code, reply.json()["error"].split(";")[0]) == (404, "within: 'polka': no such category in the catalog")


def test_items_are_found_by_title_with_their_category(server, onnx_recommender):
    catalog = onnx_recommender.catalog
    title = catalog.titles[5]
    first = server.get("/items", params={"query": title.upper(), "limit": 3}).json()["items"][0]
    assert first == {"item_id": catalog.ids[5], "title": title, "category": catalog.table["category"][4]}
    assert [item["item_id"] for item in server.get("/items?limit=4").json()["items"]] == catalog.ids[1:5]


def test_a_random_session_is_one_of_the_test_with_what_came_next(server, exported_run):
    log = load_log(exported_run / "log")
    numbers = log.catalog.numbers
    seen = set()
    for _ in range(20):
        found = server.get("/sessions/random").json()
        seen.add(found["session"])
        session = log.session_ids.to_list().index(found["session"])
        start, end = log.sessions.offsets[session : session + 2]
        items, parts = log.sessions.items[start:end].tolist(), log.parts[start:end].tolist()
        cut = parts.index(2, 1)  # the first test step that has a history
        assert [numbers[item["item_id"]] for item in found["history"]] == items[:cut]
        assert [numbers[item["item_id"]] for item in found["next"]] == items[cut:]
        assert found["history"][0]["title"] == log.catalog.titles[items[0]]
    assert len(seen) > 1


def test_metrics_count_requests_by_route_and_status(server, ids):
    def count(line):
        found = [row for row in server.get("/metrics").text.splitlines() if row.startswith(line)]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    answered, refused = (f'learec_requests_total{{route="/recommend",status="{status}"}}' for status in (200, 422))
    before = count(answered), count(refused), count("learec_unknown_items_total")
    server.recommend([ids[1], "nobody", "no one"])
    server.post("/recommend", {"history": 3})
    assert (count(answered), count(refused), count("learec_unknown_items_total")) == (before[0] + 1, before[1] + 1, before[2] + 2)
    assert count('learec_model_info{default="true"') == 1
    assert count("learec_refused_models") == 0
    assert server.get("/metrics").headers["content-type"].startswith("text/plain")


def test_the_documentation_and_what_it_loads_come_from_this_host(server):
    page = server.get("/docs")
    assert page.status_code == 200 and "http" not in page.text
    for path in ("/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"):
        assert server.get(path).status_code == 200
    described = server.get("/openapi.json").json()
    assert {"/recommend", "/items", "/models", "/sessions/random", "/events", "/health", "/ready", "/metrics"} <= set(
        described["paths"]
    )
    assert described["components"]["schemas"]["OneHistory"]["properties"]["k"]["maximum"] == 1000


def test_the_short_way_answers_as_the_documented_route_does(exported_run, ids):
    from starlette.testclient import TestClient

    from learec.serving.app import make_app
    from learec.serving.door import Door
    from learec.serving.models import Models
    from learec.serving.service import Service

    service = Service(Models(exported_run), None, 1000)
    app = make_app(service)
    bodies = [{"history": ids[1:4], "k": 3}, {"histories": [ids[1:3], []], "model": "untied"}, {"history": 1}, {}, {"k": 0}]
    for body in bodies:
        routed, short = (TestClient(one).post("/recommend", json=body) for one in (app, Door(app, service, None)))
        assert routed.status_code == short.status_code
        if routed.status_code == 200:
            assert (routed.json(), routed.headers["x-learec-model"]) == (short.json(), short.headers["x-learec-model"])
    service.close()


def test_a_route_that_fails_is_a_500_in_json_and_is_counted(exported_run, monkeypatch):
    from starlette.testclient import TestClient

    from learec.serving.app import make_app
    from learec.serving.door import Door
    from learec.serving.models import Models
    from learec.serving.service import Service

    def fail(self, query, limit):
        raise RuntimeError("secret")

    monkeypatch.setattr(Service, "found", fail)
    service = Service(Models(exported_run), None, 1000)
    client = TestClient(Door(make_app(service), service, None), raise_server_exceptions=False)
    reply = client.get("/items?query=a")
    assert (reply.status_code, reply.json()) == (500, {"error": "the server failed at this; its log says why"})
    assert 'learec_requests_total{route="/items",status="500"} 1.0' in client.get("/metrics").text
    service.close()
