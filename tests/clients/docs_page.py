"""The page at /docs in a real browser: it shows every operation, and asks nobody but the server it came from."""

import shutil
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

from penstock import BASE, TOKEN, check, get_json, run

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


def browser_path():
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@check
def page_shows_every_operation_and_asks_no_other_host():
    described = get_json("/openapi.json")
    count = sum(len(item) for item in described["paths"].values())
    asked, complaints = [], []
    with sync_playwright() as driver:
        # Without its sandbox it runs as root, too; it opens nothing but a page of ours.
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        page = browser.new_page(extra_http_headers={"X-API-Key": TOKEN})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{BASE}/docs")
        page.wait_for_selector(".opblock-tag-section")
        closed = page.locator(".opblock-tag-section:not(.is-open) .opblock-tag")
        while closed.count():
            closed.first.click()
        page.wait_for_function(f"document.querySelectorAll('.opblock').length >= {count}")
        shown = page.locator(".opblock-summary-path").all_inner_texts()
        # One of them opened: its example is drawn from the description.
        page.locator("#operations-pools-createPool .opblock-summary").click()
        page.wait_for_selector("#operations-pools-createPool .opblock-body .highlight-code, #operations-pools-createPool textarea")
        body = page.locator("#operations-pools-createPool").inner_text()
        browser.close()
    assert len(shown) == count, f"{len(shown)} operations are shown, {count} are described"
    # The page breaks long paths with invisible blanks.
    paths = {path.replace("\u200b", "") for path in shown}
    assert paths == set(described["paths"]), f"shown and described differ: {paths ^ set(described['paths'])}"
    assert "night shift" in body, body
    own = urlsplit(BASE).netloc
    strangers = [url for url in asked if urlsplit(url).netloc != own and not url.startswith(("data:", "blob:"))]
    assert not strangers, f"the page asked {strangers}"
    assert any(url.endswith("/openapi.json") for url in asked), asked
    assert not complaints, f"the browser complains: {complaints}"


if browser_path() is None:
    print("    not looked at: no browser (Debian: apt-get install chromium)")
else:
    run()
