//! Values in addresses: whatever they contain, the address leads to the same host and the same depth of path, and a
//! server that decodes it finds the value there.

use gleitzeit_workflow::template::Language;
use proptest::prelude::*;
use serde_json::json;
use url::{Url, form_urlencoded};

use crate::filled;

/// Texts that have been misread in an address before.
const HOSTILE: [&str; 24] = [
    "../admin?x=1#",
    "..",
    ".",
    "%2e%2E",
    "",
    "/",
    "//evil.com/",
    "\\..\\",
    "@evil.com",
    ":80@evil.com",
    "?a=b",
    "#",
    "%",
    "%00",
    "\0",
    "\t..\t",
    "\n//evil.com",
    " a ",
    "a&b=c",
    "a;b",
    "é/日本",
    "\u{ff0f}..\u{ff0f}",
    "\u{202e}",
    "http://evil.com/",
];

#[derive(Clone, Copy, Debug)]
enum Part {
    /// The number of the segment, and how many of its bytes precede and follow the value.
    Segment(usize, usize, usize),
    Query,
    Fragment,
}

const TEMPLATES: [(&str, Part); 9] = [
    ("https://h.example/a/${a}/b?c#d", Part::Segment(1, 0, 0)),
    ("https://h.example/${a}", Part::Segment(0, 0, 0)),
    ("HTTPS:\\\\h.example\\${a}\\b", Part::Segment(0, 0, 0)),
    ("https://h.example/a/x-${a}.json", Part::Segment(1, 2, 5)),
    ("https://h.example/a/.${a}", Part::Segment(1, 1, 0)),
    ("https://h.example/?q=${a}&r=1", Part::Query),
    ("https://h.example?r=/x&q=${a}#e", Part::Query),
    ("https://h.example/a/#${a}", Part::Fragment),
    (" https://h.\texample/a/${a}\n", Part::Segment(1, 0, 0)),
];

fn check(template: &str, part: Part, value: &str) -> Result<(), TestCaseError> {
    let plain = filled(template, Language::Url, &json!("x")).expect("it fits");
    let plain = Url::parse(&plain).expect("an address");
    let made = match filled(template, Language::Url, &json!(value)) {
        Ok(made) => made,
        Err(why) => {
            let segment = template.replace("${a}", value);
            let empty_or_dots = segment.split(['/', '\\']).any(|it| matches!(it.trim(), "" | "." | ".."));
            prop_assert!(empty_or_dots && why.contains("which would be another path"), "{}: {}", template, why);
            return Ok(());
        }
    };
    let made = Url::parse(&made).expect("an address");
    let segments = |url: &Url| url.path_segments().expect("segments").map(str::to_owned).collect::<Vec<_>>();
    let decoded = |text: &str| {
        let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
        form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
    };
    prop_assert_eq!((made.origin(), made.username()), (plain.origin(), ""));
    prop_assert_eq!(segments(&made).len(), segments(&plain).len(), "{}", made);
    prop_assert_eq!(made.query_pairs().count(), plain.query_pairs().count(), "{}", made);
    let found = match part {
        Part::Segment(at, before, behind) => {
            let segment = decoded(&segments(&made)[at]);
            segment[before..segment.len() - behind].to_owned()
        }
        Part::Query => made.query_pairs().find(|(name, _)| name == "q").expect("it is there").1.into_owned(),
        Part::Fragment => decoded(made.fragment().expect("it is there")),
    };
    prop_assert_eq!(found, value, "{}", made);
    Ok(())
}

#[test]
fn no_hostile_value_changes_the_destination() {
    for (template, part) in TEMPLATES {
        for value in HOSTILE {
            check(template, part, value).unwrap_or_else(|why| panic!("{template} {value:?}: {why}"));
        }
    }
}

proptest! {
    #[test]
    fn any_value_stays_in_its_place_and_is_found_there(
        at in 0..TEMPLATES.len(),
        value in prop_oneof!["[./\\\\%2eE?#@:\t\n ]{0,6}", any::<String>()],
    ) {
        let (template, part) = TEMPLATES[at];
        check(template, part, &value)?;
    }

    #[test]
    fn a_value_never_chooses_more_than_the_label_or_port_it_stands_for(value in any::<String>()) {
        for (template, host) in [
            ("https://${a}.example.com/x", None),
            ("https://h.example:${a}/x", Some("h.example")),
            ("https://h.example${a}/x", None),
        ] {
            let Ok(made) = filled(template, Language::Url, &json!(value)) else { continue };
            // Some names turn out to be invalid; then there is nothing to check.
            let Ok(made) = Url::parse(&made) else { continue };
            prop_assert_eq!(made.path(), "/x");
            prop_assert_eq!((made.username(), made.query(), made.fragment()), ("", None, None));
            if let Some(host) = host {
                prop_assert_eq!(made.host_str(), Some(host));
            }
        }
    }
}
