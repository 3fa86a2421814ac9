"""Headless Chromium, driven as a person would: with a pointer, keys, and eyes on the page."""

import contextlib
import os
import shutil
import time
from typing import NamedTuple

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

# Whatever Chromium does besides showing the page would be heard by a closed network.
QUIET = (
    "--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-device-scale-factor=1"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Size(NamedTuple):
    width: int
    height: int


DESKTOP, PHONE = Size(1280, 900), Size(390, 844)


def programs():
    """Return the paths of Chromium and of its driver; None unless both are there."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextlib.contextmanager
def chromium():
    """Start a browser."""
    browser, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in QUIET.split():
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # root, as in a container, has no sandbox
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as started:
        yield started


class Page:
    """A page in the browser, and what a person does with it."""

    def __init__(self, driver, path, downloads):
        self.driver = driver
        self.resize(DESKTOP)
        self._tell("Emulation.setEmulatedMedia", features=[])
        self._tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.open(path)

    def open(self, path):
        self.driver.get(path.as_uri())

    def resize(self, size):
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            **size._asdict(),
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )

    def prefer(self, **features):
        """Ask for a theme or for less motion, as the settings of a system do."""
        named = [
            {"name": f"prefers-{key}".replace("_", "-"), "value": features[key]} for key in features
        ]
        self._tell("Emulation.setEmulatedMedia", features=named)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        (found,) = self.all(selector)
        return found

    def texts(self, selector):
        return [one.text for one in self.all(selector)]

    def click(self, text, inside=None):
        """Scroll to the button that has this text, in the page or a part of it, and click it."""
        buttons = (inside or self.driver).find_elements(By.TAG_NAME, "button")
        (found,) = [one for one in buttons if one.text == text]
        self.ask("arguments[0].scrollIntoView({block: 'nearest'})", found)
        found.click()

    def press(self, *keys):
        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def point(self, x, y):
        """Move the pointer to a place in the window."""
        actions = ActionChains(self.driver, duration=0)
        actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        actions.perform()

    def ask(self, script, *arguments):
        """Return what a script of the browser's own finds out."""
        return self.driver.execute_script(script, *arguments)

    def tree(self):
        """Return what the browser tells a screen reader: the role and the name of each part."""
        nodes = self._tell("Accessibility.getFullAXTree")["nodes"]
        return [
            {name: one.get(name, {}).get("value", "") for name in ("role", "name")}
            for one in nodes
            if not one["ignored"]
        ]

    def complaints(self):
        """Return what the browser's console said since it was asked last."""
        return [one["message"] for one in self.driver.get_log("browser")]

    def _tell(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)


def during(seconds, look):
    """Return what is seen in some time."""
    end = time.monotonic() + seconds
    seen = set()
    while time.monotonic() < end:
        seen.add(look())
    return seen


def until(found, seconds=60):
    """Return the first answer that is true, or fail."""
    end = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < end, "it does not come to be"
        time.sleep(0.02)
    return answer
