//! A real browser, driven through WebDriver: Debian's chromium and chromium-driver.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Place, until};

/// How long one command to the browser may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Keys as WebDriver names them.
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";
pub const DOWN: &str = "\u{e015}";
pub const RIGHT: &str = "\u{e014}";

/// A browser without a window, and the program that drives it; both end with this.
pub struct Browser {
    driver: Child,
    /// Kept, so that the driver has somebody to write to.
    _said: BufReader<ChildStdout>,
    agent: ureq::Agent,
    session: String,
    process: Option<Pid>,
}

impl Browser {
    /// Starts both, with all that they write in the place's folder. What the browser asks of the network goes nowhere.
    pub fn start(place: &Place) -> Self {
        let mut driver = place
            .command("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver: {error}; scripts/setup installs chromium and chromium-driver")
            });
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let port = port(&mut said);
        let settings = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let root = format!("http://127.0.0.1:{port}/session");
        let mut browser =
            Browser { driver, _said: said, agent: settings.into(), session: root, process: None };
        let profile = format!("--user-data-dir={}", place.temporary().join("profile").display());
        let arguments = [
            "--headless=new",
            // Root, as which CI runs, may not use Chromium's sandbox. The page under test is our own.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "--window-size=1280,900",
            &profile,
        ];
        let begun = browser.command(
            "",
            json!({"capabilities": {"alwaysMatch": {
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                "goog:chromeOptions": {"args": arguments},
            }}}),
        );
        browser.session = format!("{}/{}", browser.session, begun["sessionId"].as_str().unwrap());
        let process =
            begun["capabilities"]["goog:processID"].as_i64().and_then(|number| i32::try_from(number).ok());
        browser.process = process.and_then(Pid::from_raw);
        browser
    }

    /// What the driver answers to a command.
    fn command(&self, what: &str, with: Value) -> Value {
        let address = format!("{}{what}", self.session);
        let request = self.agent.post(&address).content_type("application/json");
        let answer = request.send(with.to_string()).and_then(|mut answer| {
            // A picture is longer than what is read by default.
            answer.body_mut().with_config().limit(64 << 20).read_to_string()
        });
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["value"]["error"], Value::Null, "{what} {with}: {}", answer["value"]["message"]);
        answer["value"].take()
    }

    /// Opens a page from a file, with what follows its name in the address.
    pub fn open(&self, file: &Path, fragment: &str) {
        let file = fs::canonicalize(file).unwrap();
        // Where only the fragment differs a page would not be read again.
        self.command("/url", json!({"url": "about:blank"}));
        self.command("/url", json!({"url": format!("file://{}{fragment}", file.display())}));
    }

    /// Opens a page that is served.
    pub fn open_at(&self, address: &str) {
        self.command("/url", json!({"url": "about:blank"}));
        self.command("/url", json!({"url": address}));
    }

    /// What a script in the page gives.
    pub fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({"script": script, "args": []}))
    }

    /// What a script gives to the function that is its last argument, some time later.
    pub fn run_async(&self, script: &str) -> Value {
        self.command("/execute/async", json!({"script": script, "args": []}))
    }

    /// What an expression is.
    pub fn is(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}"))
    }

    /// The text of what a selector finds, as it is shown.
    pub fn text(&self, selector: &str) -> String {
        // Drawings have no innerText.
        let found = self.run(&format!(
            "const found = document.querySelector({selector:?}); return found?.innerText ?? found?.textContent"
        ));
        found.as_str().unwrap_or_else(|| panic!("there is no {selector}")).to_owned()
    }

    /// Waits until an expression is true.
    pub fn until(&self, expression: &str) {
        until(expression, || match self.is(expression) {
            Value::Bool(true) => Ok(()),
            other => Err(format!("{other}; {}", self.is("document.body.innerText.slice(0, 600)"))),
        });
    }

    /// Waits until a cell is open with all that it has.
    pub fn until_open(&self, anchor: &str) {
        self.until(&format!(
            "document.getElementById('cell').getAttribute('aria-busy') === 'false' \
             && document.getElementById('where').textContent === {anchor:?}"
        ));
    }

    /// Presses keys, one after the other.
    pub fn press(&self, keys: &[&str]) {
        let strokes: Vec<Value> = keys
            .iter()
            .flat_map(|key| {
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        self.command("/actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}));
    }

    /// Clicks on what a selector finds.
    pub fn click(&self, selector: &str) {
        let element = self.command("/element", json!({"using": "css selector", "value": selector}));
        let number = element.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.command(&format!("/element/{number}/click"), json!({}));
    }

    /// A command of the browser's own protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("/goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// Light or dark.
    pub fn prefer(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// The size of what shows the page.
    pub fn resize(&self, width: u32, height: u32, mobile: bool) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}),
        );
    }

    /// What is to be seen, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let shot = self.devtools("Page.captureScreenshot", json!({"format": "png"}));
        BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// Fails if the page complained, or asked for anything but itself.
    pub fn assert_silent(&self) {
        self.assert_silent_within("file://", |address| {
            address.starts_with("file://") && address.contains(".html")
        });
    }

    /// Fails if pages whose address begins so complained, or asked for anything but what is theirs.
    pub fn assert_silent_within(&self, pages: &str, own_address: impl Fn(&str) -> bool) {
        let log = |kind: &str| self.command("/se/log", json!({"type": kind}));
        let complaints = log("browser");
        assert_eq!(complaints, json!([]), "the page complained");
        let mut own = 0;
        for entry in log("performance").as_array().unwrap() {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let asked = &event["message"]["params"];
            // What the browser shows before it opens a page asks for things of its own.
            let by_page = asked["documentURL"].as_str().is_some_and(|page| page.starts_with(pages));
            if event["message"]["method"] == "Network.requestWillBeSent" && by_page {
                let address = asked["request"]["url"].as_str().unwrap();
                let page = own_address(address);
                assert!(page || address.starts_with("data:"), "the page asked for {address}");
                own += usize::from(page);
            }
        }
        assert!(own > 0, "nothing was seen of what the page asks for");
    }
}

/// The port that the driver says it has.
fn port(said: &mut impl BufRead) -> u16 {
    let mut all = String::new();
    loop {
        let begin = all.len();
        if said.read_line(&mut all).unwrap() == 0 {
            panic!("chromedriver ended before it had a port: {all}");
        }
        let line = &all[begin..];
        if let Some((_, rest)) = line.split_once("started successfully on port ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            return digits.parse().unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is asked to end; then it is made to.
        let asked =
            self.agent.delete(&self.session).config().timeout_global(Some(Duration::from_secs(10))).build();
        let _ = asked.call();
        if let Some(process) = self.process {
            let _ = kill_process(process, Signal::KILL);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
