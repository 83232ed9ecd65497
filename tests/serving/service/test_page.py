"""The page at /, in Debian's Chromium against a real service: search, history, side by side, sessions, token, looks, faults."""

import re
from importlib.resources import files
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console

from learec.agents.train import train
from learec.artifacts import stored_request
from learec.config import AgentConfig, AgentEntry, DataConfig
from learec.data.log import load_log
from learec.data.prepare import prepare
from learec.line import validation_of
from learec.progress import Reporter

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = playwright.expect

TOKEN = "correct-horse-battery-staple"
HTML = "<b>{title}</b><img src=x onerror=\"document.title='it ran'\"> &amp; <script>document.title='it ran'</script>"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
MAX_BYTES = 40_000  # of the whole page
# Texts with less contrast than WCAG AA wants: [text, ratio]. A background is the nearest one that is not transparent.
TOO_FAINT = """() => {
  const channels = color => color.match(/[\\d.]+/g).map(Number)
  const luminance = color => {
    const [r, g, b] = channels(color).map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    return .2126 * r + .7152 * g + .0722 * b
  }
  const behind = element => {
    const color = getComputedStyle(element).backgroundColor
    return channels(color)[3] === 0 ? behind(element.parentElement) : color
  }
  const texts = [...document.querySelectorAll("body *")].filter(element =>
    element.checkVisibility() && !element.closest(":disabled, .unseen, script")
    && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
  return texts.map(element => {
    const [low, high] = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => a - b)
    return [element.textContent, (high + .05) / (low + .05)]
  }).filter(([, ratio]) => ratio < 4.5).concat(texts.length > 20 ? [] : [["hardly any text was seen", 0]])
}"""


@pytest.fixture
def visit(open_page):
    """Open the page of a server, which asks no other host."""

    def one(server, hash_="", prepared=lambda page: None, **options):
        home = f"http://127.0.0.1:{server.port}/"
        return open_page(f"{home}{hash_}", home, prepared, "Failed to load resource", **options)

    return one


@pytest.fixture
def page(visit, server):
    """The page as one finds it."""
    page = visit(server)
    settle(page)
    return page


@pytest.fixture(scope="module")
def html_run(small_log_folder, raw_folder, tmp_path_factory):
    """A run in which every title is HTML."""
    folder = tmp_path_factory.mktemp("html")
    settings = {key: value for key, value in stored_request(small_log_folder).config.items() if key != "seed"}
    prepare(DataConfig(**{**settings, "title": HTML, "category_column": "genre"}), 0, raw_folder, folder / "log")
    log, entry = load_log(folder / "log"), AgentEntry("sasrec", 0, AgentConfig(hidden_size=8, epochs=1))
    train(
        entry, log, None, folder / "agents/sasrec/seed-0", device="cpu", reporter=Reporter(Console(quiet=True)),
        validate=validation_of(log, True),
    )  # fmt: skip
    return folder


def settle(page):
    """Wait until every column shows what was asked last."""
    page.wait_for_selector(".column li, .column .remark")
    page.wait_for_function("() => [...document.querySelectorAll('.column')].every(column => column.ariaBusy === 'false')")


def state(page):
    """What the address holds."""
    fields = parse_qs(urlsplit(page.url).fragment, keep_blank_values=True)
    return {name: [value for value in values[0].split(",") if value] for name, values in fields.items()}


def history(page):
    return state(page)["history"]


def column(page, model="sasrec/0"):
    return page.get_by_role("region", name=model, exact=True)


def shown(page, model="sasrec/0"):
    """Item ids of a column."""
    settle(page)
    return column(page, model).locator("li").evaluate_all("rows => rows.map(row => row.dataset.item)")


def recommended(server, ids, k=10, model="sasrec/0"):
    return [item["item_id"] for item in server.recommend(ids, k=k, model=model)["items"]]


def search(page, text):
    """Type, and wait for what is found."""
    page.get_by_role("combobox", name="Search").press_sequentially(text)
    page.wait_for_selector("#panel:not([hidden])")
    return page.get_by_role("option")


def test_the_whole_page_is_light_and_has_no_script_or_style_in_its_text():
    folder = files("learec.serving") / "page"
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < MAX_BYTES
    text = (folder / "index.html").read_text()
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=|https?:", text)
    assert not any(
        re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text()) for file in folder.iterdir()
    )


def test_at_first_the_default_model_shows_popular_items_and_the_page_says_so(page, server):
    default = next(model for model in server.get("/models").json()["models"] if model["default"])
    assert shown(page, default["name"]) == recommended(server, [], model=default["name"])
    expect(column(page, default["name"])).to_contain_text("the most popular items")
    expect(column(page, default["name"])).to_contain_text(f"version {default['version']}")
    expect(page.locator("#history-empty")).to_contain_text("Nothing yet")


def test_what_is_typed_is_searched_and_enter_puts_the_first_into_the_history(page, server):
    wanted = server.get("/items", params={"query": "the", "limit": 20}).json()["items"]
    options = search(page, "the")
    expect(options.locator(".title")).to_have_text([item["title"] for item in wanted])
    expect(options.locator(".category")).to_have_text([item["category"] for item in wanted])
    page.keyboard.press("Enter")
    assert history(page) == [wanted[0]["item_id"]]
    expect(page.locator("#history .title")).to_have_text([wanted[0]["title"]])
    expect(page.get_by_role("combobox", name="Search")).to_have_value("")
    expect(page.get_by_role("listbox")).to_be_hidden()


def test_keys_typed_quickly_are_one_request(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/items" in request.url else None)
    search(page, "river")
    assert [parse_qs(urlsplit(url).query)["query"] for url in asked] == [["river"]]


def test_enter_before_the_search_has_answered_takes_the_first_of_what_was_typed_last(page, server):
    before, wanted = (server.get("/items", params={"query": query}).json()["items"][0] for query in ("f", "freight"))
    assert before != wanted
    search(page, "f")
    page.get_by_role("combobox", name="Search").press_sequentially("reight")
    page.keyboard.press("Enter")
    expect(page.locator("#history .title")).to_have_text([wanted["title"]])
    assert history(page) == [wanted["item_id"]]


def test_slash_goes_to_the_search_arrows_choose_and_escape_closes(page, server):
    wanted = [item["item_id"] for item in server.get("/items?limit=20").json()["items"]]
    page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Search")
    expect(box).to_be_focused()
    page.keyboard.press("ArrowDown")  # with nothing typed: the first items of the catalog
    page.wait_for_selector("#panel:not([hidden])")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    expect(box).to_have_attribute("aria-activedescendant", "found-1")
    expect(page.locator("#found [aria-selected=true]")).to_have_attribute("id", "found-1")
    page.keyboard.press("Escape")
    expect(box).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    assert history(page) == []
    page.keyboard.press("ArrowUp")
    page.wait_for_selector("#panel:not([hidden])")
    page.keyboard.press("ArrowUp")  # from none to the last
    page.keyboard.press("Enter")
    assert history(page) == [wanted[-1]]


def test_a_search_that_finds_nothing_says_so(page):
    search(page, "zzz")
    expect(page.locator("#found-note")).to_have_text("No title holds “zzz”.")


def test_a_click_on_a_recommendation_appends_it_and_the_lists_follow(page, server, ids):
    page.goto(f"{page.url.split('#')[0]}#history={ids[3]}&models=sasrec/0")
    expect(page.locator("#history li")).to_have_count(1)
    first = recommended(server, [ids[3]])
    assert shown(page) == first
    column(page).locator("li").nth(2).click()
    assert history(page) == [ids[3], first[2]]
    answer = server.recommend([ids[3], first[2]], model="sasrec/0")["items"]
    assert shown(page) == [item["item_id"] for item in answer]
    expect(column(page).locator(".score")).to_have_text([f"{item['score']:.3f}" for item in answer])
    expect(page.get_by_role("status")).to_contain_text("Added")


def test_bars_are_as_long_as_scores_are_high_and_latency_is_measured(page, ids):
    page.goto(f"{page.url.split('#')[0]}#history={ids[3]}&models=sasrec/0")
    expect(page.locator("#history li")).to_have_count(1)
    settle(page)
    shares = column(page).locator(".bar").evaluate_all("bars => bars.map(bar => Number(bar.style.getPropertyValue('--share')))")
    assert shares == sorted(shares, reverse=True) and shares[0] == 1 and 0 <= shares[-1] < 1
    assert 0 < float(re.match(r"([\d.]+) ms", column(page).locator(".facts").inner_text())[1]) < 15_000


def test_arrows_go_through_the_lists_and_enter_adds(page, server, ids):
    page.goto(f"{page.url.split('#')[0]}#history={ids[3]}&models=sasrec/0,untied/0")
    expect(page.locator(".column")).to_have_count(2)
    first = shown(page, "sasrec/0"), shown(page, "untied/0")
    columns = [state(page)["models"].index(model) for model in ("sasrec/0", "untied/0")]
    page.locator(".column").first.get_by_role("button").first.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    right = first[columns.index(1)]
    assert history(page) == [ids[3], right[2]]
    settle(page)
    row = page.locator(".column").nth(1).locator("li").nth(2)
    expect(row.get_by_role("button")).to_be_focused()  # the new item at that place, so Enter goes on


def test_items_of_the_history_move_and_leave_by_buttons_and_keys(page, ids):
    a, b, c = ids[2:5]
    page.goto(f"{page.url.split('#')[0]}#history={a},{b},{c}&models=sasrec/0")
    rows = page.locator("#history li")
    expect(rows).to_have_count(3)
    settle(page)
    rows.nth(2).get_by_role("button", name="Move up").click()
    assert history(page) == [a, c, b]
    rows.nth(0).get_by_role("button", name="Move down").click()
    assert history(page) == [c, a, b]
    page.keyboard.press("Alt+ArrowDown")  # the focus went along
    assert history(page) == [c, b, a]
    expect(rows.nth(0).get_by_role("button", name="Move up")).to_be_disabled()
    page.keyboard.press("Delete")
    assert history(page) == [c, b]
    expect(rows.nth(1).get_by_role("button", name="Remove")).to_be_focused()
    rows.nth(0).get_by_role("button", name="Remove").click()
    assert history(page) == [b]
    page.keyboard.press("Delete")
    assert history(page) == []
    expect(page.get_by_role("button", name="Random real session")).to_be_focused()


def test_undo_goes_back_over_clear(page, server, ids):
    page.goto(f"{page.url.split('#')[0]}#history={ids[2]},{ids[3]}&models=sasrec/0")
    expect(page.locator("#history li")).to_have_count(2)
    page.get_by_role("button", name="Clear").click()
    assert history(page) == []
    page.get_by_role("button", name="Undo").click()
    assert history(page) == [ids[2], ids[3]]
    assert shown(page) == recommended(server, [ids[2], ids[3]])
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_models_stand_side_by_side_with_what_they_share_marked(page, server, ids):
    page.goto(f"{page.url.split('#')[0]}#history={ids[3]},{ids[9]}&models=untied/0")
    expect(page.locator("#history li")).to_have_count(2)
    page.get_by_role("checkbox", name="sasrec/0").check()
    assert sorted(state(page)["models"]) == ["sasrec/0", "untied/0"]
    lists = {model: recommended(server, [ids[3], ids[9]], model=model) for model in ("sasrec/0", "untied/0")}
    boxes = [box.bounding_box() for box in page.locator(".column").all()]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    for model, other in (("sasrec/0", "untied/0"), ("untied/0", "sasrec/0")):
        assert shown(page, model) == lists[model]
        n_shared = len(set(lists[model]) & set(lists[other]))
        assert 0 < n_shared < 10
        expect(column(page, model).locator(".facts")).to_contain_text(f"{n_shared} of 10 shared")
        for row, item_id in enumerate(lists[model]):
            tag = column(page, model).locator("li").nth(row).locator(".shared")
            said = [f"also at {lists[other].index(item_id) + 1}"] if item_id in lists[other] else []
            expect(tag).to_have_text(said)
    page.get_by_role("checkbox", name="sasrec/0").uncheck()
    expect(page.locator(".shared")).to_have_count(0)
    page.get_by_role("checkbox", name="untied/0").uncheck()
    expect(page.locator("#no-model")).to_be_visible()


def test_a_random_session_shows_what_came_next_and_where_each_model_has_it(page, server):
    page.goto(f"{page.url.split('#')[0]}#models=sasrec/0,untied/0&k=50")
    expect(page.locator(".column")).to_have_count(2)
    with page.expect_response("**/sessions/random") as reply:
        page.get_by_role("button", name="Random real session").click()
    before, after = ([item["item_id"] for item in reply.value.json()[part]] for part in ("history", "next"))
    expect(page.locator("#history li")).to_have_count(len(before))
    assert (history(page), state(page)["next"]) == (before, after)
    for model in ("sasrec/0", "untied/0"):
        found = recommended(server, before, 50, model)
        assert shown(page, model) == found
        said = [f"{model}: at {found.index(one) + 1}" if one in found else f"{model}: not in 50" for one in after]
        expect(page.locator("#next .tag", has_text=model)).to_have_text(said)
        expect(column(page, model).locator(".hit")).to_have_count(len(set(found) & set(after)))
    page.locator("#next button").first.click()  # one step on
    assert (history(page), state(page)["next"]) == ([*before, after[0]], after[1:])
    page.get_by_role("button", name="Leave").click()
    assert "session" not in state(page)
    expect(page.locator(".column .hit")).to_have_count(0)


def test_where_there_are_no_sessions_the_service_says_why(visit, run_copy, start):
    (run_copy / "log" / "offsets.npy").unlink()
    held = []
    page = visit(start(run_copy), prepared=lambda page: page.route("**/recommend", lambda route: held.append(route)))
    page.wait_for_function("() => document.querySelector('.column')?.ariaBusy === 'true'")
    page.get_by_role("button", name="Random real session").click()
    notice = page.locator("#notice")
    expect(notice).to_contain_text("the log's sessions are not in the run folder")
    held.pop().continue_()  # an answer that was asked for earlier does not wipe the reason away
    settle(page)
    expect(notice).to_be_visible()
    page.unroute("**/recommend")
    page.locator(".column li button").first.click()
    expect(notice).to_be_hidden()


def test_an_address_holds_the_whole_view(visit, server, ids):
    view = f"#history={ids[5]},nobody&models=sasrec/0,untied/0&k=5&session=ann&next={ids[6]}"
    page = visit(server, view)
    expect(page.locator(".column li")).to_have_count(10)
    titles = {item["item_id"]: item["title"] for item in server.get("/items?limit=100").json()["items"]}
    expect(page.locator("#history .title")).to_have_text([titles[ids[5]], "nobody"])
    expect(page.locator("#history .category").nth(1)).to_have_text("not in the catalog")
    expect(column(page)).to_contain_text("not known to this model: nobody")
    expect(page.locator("#next .title")).to_have_text([titles[ids[6]]])
    expect(page.get_by_label("Items in a list")).to_have_value("5")
    kept = page.url
    page.reload()
    expect(page.locator(".column li")).to_have_count(10)
    assert page.url == kept


@pytest.mark.parametrize("hash_", ["#", "#history=%E0%A4%A&k=-1&models=gone/0", "#history=,,&next=x&session", "#=&=&k=1e9"])
def test_an_address_that_was_cut_or_typed_shows_something_still(visit, server, hash_):
    page = visit(server, hash_)
    settle(page)
    expect(page.locator(".column li")).to_have_count(10)


def test_html_in_titles_is_text_everywhere(visit, html_run, start):
    server = start(html_run)
    page = visit(server, "#k=50")
    options = search(page, "script")
    expect(options.first).to_contain_text("<script>document.title='it ran'</script>")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Random real session").click()
    settle(page)
    for place in ("#history", "#next", ".column"):
        expect(page.locator(f"{place} .title").first).to_contain_text("<b>")
    assert page.evaluate("document.querySelectorAll('main b, main img, main script').length") == 0
    assert page.title() == "learec: try the recommender"


def test_answers_that_come_late_do_not_replace_newer_ones(page, server, ids):
    page.goto(f"{page.url.split('#')[0]}#history={ids[3]}&models=sasrec/0")
    expect(page.locator("#history li")).to_have_count(1)
    settle(page)
    held = []
    page.route("**/recommend", lambda route: held.append(route) if not held else route.continue_())
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("() => document.querySelector('.column').ariaBusy === 'true'")
    page.get_by_role("button", name="Undo").click()
    assert shown(page) == recommended(server, [ids[3]])
    held[0].fulfill(json=server.post("/recommend", {"history": []}).json())
    page.wait_for_timeout(200)
    assert shown(page) == recommended(server, [ids[3]])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_texts_have_contrast_and_nothing_is_wider_than_the_window(visit, server, ids, scheme, viewport):
    view = f"#history={','.join(ids[1:12])},{'unbroken' * 30}&models=sasrec/0,untied/0&k=20&session={'ann' * 60}&next={ids[12]}"
    page = visit(server, view, color_scheme=scheme, has_touch=viewport is PHONE)
    page.set_viewport_size(viewport)
    expect(page.locator(".column li")).to_have_count(40)
    search(page, "the")
    assert page.evaluate(TOO_FAINT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    for box in (one.bounding_box() for one in page.locator("button:visible, input:visible, select:visible").all()):
        assert box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"]


def test_the_theme_follows_the_system_until_one_is_chosen_which_stays(visit, server):
    page = visit(server, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    button = page.get_by_role("button", name="Theme")
    expect(button).to_have_accessible_name("Theme: system")
    dark = page.evaluate(background)
    button.click()
    expect(button).to_have_accessible_name("Theme: light")
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light
    button.click()
    assert page.evaluate(background) == dark
    button.click()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(background) == light


@pytest.mark.parametrize(("motion", "seconds"), [("no-preference", "0.2s"), ("reduce", "0s")])
def test_nothing_moves_for_those_who_want_it_so(visit, server, motion, seconds):
    page = visit(server, reduced_motion=motion)
    settle(page)
    busy = "column => { column.ariaBusy = true; return getComputedStyle(column).transitionDuration }"
    assert page.locator(".column").first.evaluate(busy) == seconds


def test_every_control_has_a_name(page, ids):
    page.goto(f"{page.url.split('#')[0]}#history={ids[3]}&models=sasrec/0&session=ann&next={ids[4]}")
    expect(page.locator("#next li")).to_have_count(1)
    settle(page)
    controls = page.locator("button:visible, input:visible, select:visible, section:visible, ol:visible").all()
    assert len(controls) > 20
    for control in controls:
        if control.evaluate("element => element.matches('.column ol')"):
            continue  # its section is named
        expect(control).to_have_accessible_name(re.compile(r"\w"))


def test_a_service_that_is_gone_is_said_in_words_and_the_page_goes_on_when_it_is_back(visit, exported_run, start, ids):
    server = start(exported_run)
    page = visit(server, f"#history={ids[3]}&models=sasrec/0")
    expect(page.locator("#history li")).to_have_count(1)
    before = shown(page)
    server.kill()
    page.get_by_role("button", name="Clear").click()
    alert = page.locator("#notice")
    expect(alert).to_contain_text("The service does not answer")
    column_items = column(page).locator("li").evaluate_all("rows => rows.map(row => row.dataset.item)")
    assert column_items == before  # the last answer stays, and is said to be old
    expect(column(page)).to_have_attribute("aria-busy", "true")
    back = start(exported_run, "--port", str(server.port))
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_be_hidden()
    assert shown(page) == recommended(back, [])


def test_a_page_that_was_opened_before_the_service_answers_begins_by_itself(visit, server, ids):
    def away(page):
        page.route("**/models", lambda route: route.abort())

    page = visit(server, f"#history={ids[3]}&models=sasrec/0", prepared=away)
    expect(page.locator("#notice")).to_contain_text("The service does not answer")
    page.unroute("**/models")
    assert shown(page) == recommended(server, [ids[3]])
    expect(page.locator("#notice")).to_be_hidden()


def test_a_busy_service_is_said_in_words_and_asked_again_when_it_says(page, server):
    busy = {"status": 503, "json": {"error": "8192 jobs wait already"}, "headers": {"Retry-After": "1"}}
    page.route("**/recommend", lambda route: route.fulfill(**busy))
    page.get_by_role("checkbox", name="untied/0").check()
    page.get_by_role("checkbox", name="sasrec/0").check()
    expect(page.locator("#notice")).to_contain_text("The service cannot answer just now: 8192 jobs wait already")
    page.unroute("**/recommend")
    expect(page.locator("#notice")).to_be_hidden()
    assert shown(page, "untied/0") == recommended(server, [], model="untied/0")


def test_what_one_model_refuses_stands_in_its_column_and_the_others_answer(page, server, ids):
    refused = {"status": 404, "json": {"error": "model: 'untied/0' is not served"}}
    page.route(
        "**/recommend", lambda route: route.fulfill(**refused) if "untied" in route.request.post_data else route.continue_()
    )
    page.goto(f"{page.url.split('#')[0]}#history={ids[3]}&models=sasrec/0,untied/0")
    expect(column(page, "untied/0")).to_contain_text("The service refused: model: 'untied/0' is not served")
    expect(page.locator("#history li")).to_have_count(1)
    assert shown(page, "sasrec/0") == recommended(server, [ids[3]])


def test_with_a_token_the_browsers_own_question_opens_the_page_and_all_of_it_works(visit, exported_run, start, ids, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    server = start(exported_run, "--token-file", str(tmp_path / "token"))
    assert server.get("/", headers={"Accept": "text/html"}).status_code == 401
    page = visit(server, f"#history={ids[3]}&models=sasrec/0", http_credentials={"username": "any", "password": TOKEN})
    assert len(shown(page)) == 10
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_token_that_is_asked_for_later_is_kept_in_the_tab_alone(visit, exported_run, start, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    server = start(exported_run, "--token-file", str(tmp_path / "token"))

    def opened_by_a_proxy(page):
        """The page itself comes without a token; what it asks for does not."""
        allowed = {"authorization": f"Bearer {TOKEN}"}
        page.route(
            re.compile(r"/$|\.(js|css|svg|html)$"), lambda route: route.continue_(headers={**route.request.headers, **allowed})
        )

    page = visit(server, prepared=opened_by_a_proxy)
    dialog, field = page.get_by_role("dialog"), page.get_by_label("It stays in this tab")
    expect(dialog).to_contain_text("This service asks for a token")
    expect(field).to_be_focused()
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("The service does not accept that token.")
    field.fill(f"  {TOKEN}\n")
    page.get_by_role("button", name="Use this token").click()
    expect(dialog).to_be_hidden()
    settle(page)
    expect(page.locator(".column li")).to_have_count(10)
    stores = "[localStorage, sessionStorage].map(store => JSON.stringify(store))"
    assert [TOKEN in content for content in page.evaluate(stores)] == [False, True]
    assert TOKEN not in page.url and page.context.cookies() == []
    page.reload()
    settle(page)
    page.get_by_role("button", name="Forget token").click()
    expect(dialog).to_be_visible()
    assert TOKEN not in page.evaluate(stores)[1]
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notice")).to_contain_text("The service asks for a token.")
