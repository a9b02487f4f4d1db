//! Determines where a reference stands in the address of a request, and what is written there.
//!
//! The text before a reference is parsed as the URL standard (WHATWG) parses `http` and `https` addresses: tabs and
//! line endings are skipped, and a backslash counts as a slash.
//!
//! The invariant: a value that does not begin the address changes neither its host (unless it stands there) nor the
//! number of its path segments, and decoding gives the value back.
//!
//! A value that begins the address is an address, or the beginning of one, and is inserted unchanged.

use std::borrow::Cow;

use serde_json::Value;

use super::{Find, Problem};
use crate::template::parse::{Piece, Reference};
use crate::template::to_text;

/// The longest address that may be built, in bytes; servers accept far less.
const MOST_BYTES: usize = 64 * 1024;

const PATH: &str = "for a part of the path write `/` before it, or give all that stands before it as part of the value";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing precedes it.
    Start,
    /// In a possible scheme, or a path without one.
    Scheme,
    /// After the colon of a scheme and this many slashes.
    Colon(usize),
    /// After a slash at the beginning of the text.
    Slash,
    /// User, host and port.
    Authority,
    Path,
    Query,
    Fragment,
    /// After a value that is not known yet.
    Unknown,
}

/// The address as written so far.
struct Address<'p> {
    out: String,
    place: Place,
    /// Where the authority begins in the output.
    authority: usize,
    /// Where the current path segment begins in the output.
    segment: usize,
    /// A reference in this segment, if there is one.
    within: Option<&'p Reference>,
}

/// Builds an address from its pieces.
pub(super) fn fill(
    pieces: &[Piece],
    find: Find<'_, '_>,
    on_refused: &mut dyn FnMut(Problem) -> Result<(), Problem>,
) -> Result<String, Problem> {
    let mut address = Address { out: String::new(), place: Place::Start, authority: 0, segment: 0, within: None };
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => address.text(text, on_refused)?,
            Piece::Reference(reference) => {
                let value = find(reference).map_err(|why| (reference.offset, why))?;
                if let Err(why) = address.insert(reference, value, &pieces[at + 1..]) {
                    on_refused((reference.offset, format!("{reference} {why}")))?;
                }
            }
        }
    }
    address.close(on_refused)?;
    Ok(address.out)
}

impl<'p> Address<'p> {
    fn text(&mut self, text: &str, on_refused: &mut dyn FnMut(Problem) -> Result<(), Problem>) -> Result<(), Problem> {
        for character in text.chars() {
            if self.place == Place::Path && matches!(character, '/' | '\\' | '?' | '#') {
                self.close(on_refused)?;
            }
            self.step(character);
        }
        Ok(())
    }

    fn step(&mut self, character: char) {
        self.out.push(character);
        let is_slash = matches!(character, '/' | '\\');
        let next = match (self.place, character) {
            (place, '\t' | '\n' | '\r') => place,
            (Place::Start, '\0'..=' ') => Place::Start,
            (Place::Fragment, _) => Place::Fragment,
            (_, '#') => Place::Fragment,
            (Place::Query, _) | (_, '?') => Place::Query,
            (Place::Start, _) if is_slash => Place::Slash,
            (Place::Slash, _) if is_slash => Place::Authority,
            (Place::Scheme | Place::Authority | Place::Path, _) if is_slash => Place::Path,
            (Place::Colon(slashes), _) if is_slash => Place::Colon(slashes + 1),
            (Place::Scheme, ':') => Place::Colon(0),
            (Place::Start, _) => Place::Scheme,
            (Place::Slash, _) => Place::Path,
            (Place::Colon(_), _) => Place::Authority,
            (place, _) => place,
        };
        if next == Place::Authority && self.place != Place::Authority {
            self.authority = self.out.len() - if is_slash { 0 } else { character.len_utf8() };
        }
        if is_slash && matches!(next, Place::Path | Place::Slash) {
            (self.segment, self.within) = (self.out.len(), None);
        }
        self.place = next;
    }

    /// Checks the path segment that ends here, if it contains a value.
    fn close(&mut self, on_refused: &mut dyn FnMut(Problem) -> Result<(), Problem>) -> Result<(), Problem> {
        let Some(reference) = self.within.take() else { return Ok(()) };
        match wrong_segment(&self.out[self.segment..]) {
            Some(what) => {
                let message = format!("{reference} makes {what}, which would be another path");
                on_refused((reference.offset, message))
            }
            None => Ok(()),
        }
    }

    fn insert(
        &mut self,
        reference: &'p Reference,
        value: Option<Cow<'_, Value>>,
        rest: &[Piece],
    ) -> Result<(), String> {
        match self.place {
            Place::Start => return self.begin(value, rest),
            Place::Scheme | Place::Colon(0 | 1) => {
                return Err(
                    "stands where the scheme of the address is; write it out, as `https://`, or give the whole \
                            address as one value"
                        .to_owned(),
                );
            }
            _ => {}
        }
        let Some(value) = value else {
            match self.place {
                Place::Colon(_) => (self.place, self.authority) = (Place::Authority, self.out.len()),
                Place::Slash => self.place = Place::Path,
                _ => {}
            }
            return Ok(());
        };
        match self.place {
            Place::Colon(_) | Place::Authority => return self.host(&to_text(&value), rest),
            Place::Slash | Place::Path => {
                if self.within.is_none() {
                    self.within = Some(reference);
                }
                self.place = Place::Path;
                if let Value::Array(items) = &*value {
                    return self.segments(items);
                }
            }
            _ => {}
        }
        self.escaped(&to_text(&value))
    }

    /// Inserts a value at the beginning of the address, unchanged.
    fn begin(&mut self, value: Option<Cow<'_, Value>>, rest: &[Piece]) -> Result<(), String> {
        let Some(value) = value else {
            self.place = Place::Unknown;
            return Ok(());
        };
        let text = to_text(&value);
        let is_scheme = |text: &str| text.chars().all(|it| it.is_ascii_alphanumeric() || "+-.".contains(it));
        match rest.first() {
            None => {}
            Some(_) if text.contains('#') => {
                return Err(
                    "begins the address and holds a fragment (`#`), in which the rest of it would be lost".to_owned()
                );
            }
            Some(_) if text.len() > MOST_BYTES => return Err(too_long()),
            Some(Piece::Text(next)) if next.starts_with("://") && !is_scheme(&text) => {
                return Err("stands where the scheme of the address is, and its value is none".to_owned());
            }
            Some(_) => {}
        }
        // The value is not checked: whoever sets the address may choose any address.
        text.chars().for_each(|character| self.step(character));
        Ok(())
    }

    fn host(&mut self, text: &str, rest: &[Piece]) -> Result<(), String> {
        if self.place != Place::Authority {
            (self.place, self.authority) = (Place::Authority, self.out.len());
        }
        let before = &self.out[self.authority..];
        let is_port = before.rsplit(']').next().is_some_and(|before| before.contains(':'));
        if is_port {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
            if !is_number {
                return Err(format!(
                    "stands where the port of the address is, and its value is no number from 0 to 65535; {PATH}"
                ));
            }
            self.out.push_str(text);
            return Ok(());
        }
        let is_whole = before.is_empty()
            && match rest.first() {
                None => true,
                Some(Piece::Text(next)) => next.starts_with(['/', '\\', '?', '#', ':']),
                Some(Piece::Reference(_)) => false,
            };
        // A port of its own, or an address in brackets, is allowed only if the value is the whole host.
        if !(is_name(text) || is_whole && is_host_and_port(text)) {
            return Err(format!("stands where the host of the address is, and its value is none; {PATH}"));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Inserts a list: each item becomes one segment.
    fn segments(&mut self, items: &[Value]) -> Result<(), String> {
        for (at, item) in items.iter().enumerate() {
            if item.is_array() || item.is_object() {
                return Err(format!("is a list of segments, and its item {at} is neither text nor a number"));
            }
            let text = to_text(item);
            if matches!(&*text, "" | "." | "..") {
                return Err(format!(
                    "is a list of segments, and its item {at} is `{text}`, which would be another path"
                ));
            }
            if at > 0 {
                self.out.push('/');
                self.segment = self.out.len();
            }
            self.escaped(&text)?;
        }
        Ok(())
    }

    /// Escapes a value in a path, a query or a fragment: only unreserved characters (RFC 3986), which are never
    /// delimiters, remain.
    fn escaped(&mut self, text: &str) -> Result<(), String> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in text.bytes() {
            if self.out.len() > MOST_BYTES {
                return Err(too_long());
            }
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.out.push(char::from(byte));
            } else {
                let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
                self.out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        Ok(())
    }
}

fn too_long() -> String {
    format!("makes the address longer than {MOST_BYTES} bytes")
}

/// Names the kind of segment that parsers or servers remove. Trailing white space may be at the end of the whole
/// address, where parsers skip it too.
fn wrong_segment(segment: &str) -> Option<&'static str> {
    let kept = segment.trim_end_matches(|it| it <= ' ').chars().filter(|it| !matches!(it, '\t' | '\n' | '\r'));
    // More are not needed to decide.
    let kept: String = kept.take(7).collect();
    match &*kept.to_ascii_lowercase().replace("%2e", ".") {
        "" => Some("an empty segment of the path"),
        "." => Some("the segment `.` of the path"),
        ".." => Some("the segment `..` of the path"),
        _ => None,
    }
}

/// Whether a text is not empty and consists of letters, digits, `-`, `.` and `_`, none of which delimits an address.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|it| it.is_alphanumeric() || "-._".contains(it))
}

fn is_host_and_port(text: &str) -> bool {
    let (is_host, rest) = match text.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((inside, rest)) => {
            (!inside.is_empty() && inside.chars().all(|it| it.is_ascii_hexdigit() || ":.".contains(it)), rest)
        }
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_name(name), rest)
        }
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_host && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Language;
    use super::super::{check_code, resolve_code};
    use super::*;
    use crate::template::{Budget, Root, Scope};

    struct Fixed(Value);

    impl Scope for Fixed {
        fn root(&self, root: &Root) -> Option<Cow<'_, Value>> {
            match root {
                Root::Task(id) => self.0.get(id).map(Cow::Borrowed),
                _ => None,
            }
        }
    }

    fn filled(template: &str, value: Value) -> String {
        let scope = Fixed(json!({"a": value, "base": "https://api.example.com/v1", "n": 7}));
        resolve_code(template, Language::Url, "url", &scope, &mut Budget::new(1 << 20), &|_| false)
            .map_or_else(|error| format!("refused: {}", error.message), |filled| filled.text)
    }

    #[test]
    fn a_value_is_escaped_for_its_place() {
        for (template, value, expected) in [
            ("https://h/files/${a}/x", json!("../admin?x=1#"), "https://h/files/..%2Fadmin%3Fx%3D1%23/x"),
            ("/items/${a}", json!("a b/é\\\\%41"), "/items/a%20b%2F%C3%A9%5C%5C%2541"),
            ("/${a}", json!("/evil.com"), "/%2Fevil.com"),
            ("/x?q=${a}&n=${n}", json!("a&b=c+d #"), "/x?q=a%26b%3Dc%2Bd%20%23&n=7"),
            ("/x?${a}=1", json!("a=b"), "/x?a%3Db=1"),
            ("/x#${a}", json!("a/b?c"), "/x#a%2Fb%3Fc"),
            ("/x/${a}.json", json!(["b", 3, "c/d"]), "/x/b/3/c%2Fd.json"),
            ("/x/${a}${n}", json!(""), "/x/7"),
            ("/x/.${a}", json!("git"), "/x/.git"),
            ("${base}/x/${a}", json!("1/2"), "https://api.example.com/v1/x/1%2F2"),
            ("https://h/?a=${a}", json!({"b": [1]}), "https://h/?a=%7B%22b%22%3A%5B1%5D%7D"),
            ("https://h/$${a}", json!(1), "https://h/${a}"),
        ] {
            assert_eq!(filled(template, value), expected, "{template}");
        }
    }

    #[test]
    fn a_value_at_the_start_must_be_an_address() {
        for (template, value, expected) in [
            ("${a}", json!("https://h/a/../b?c=1#d"), "https://h/a/../b?c=1#d"),
            ("${a}", json!("/next?page=2"), "/next?page=2"),
            ("${a}&size=${n}", json!("https://h/?page=2"), "https://h/?page=2&size=7"),
            ("${a}://h/", json!("http"), "http://h/"),
            ("${a}/x/${n}", json!(""), "/x/7"),
            (" ${a}/x", json!("https://h:1"), " https://h:1/x"),
        ] {
            assert_eq!(filled(template, value), expected, "{template}");
        }
        for (template, value) in [("${a}/x", "https://h/#y"), ("${a}://h/", "http://evil/?x=")] {
            assert!(filled(template, json!(value)).starts_with("refused: ${a} "), "{template}");
        }
    }

    #[test]
    fn a_value_in_the_host_or_port_must_be_valid() {
        for (template, value, is_taken) in [
            ("https://${a}/x", json!("example.com"), true),
            ("https://${a}/x", json!("example.com:8080"), true),
            ("https://${a}/x", json!("[::1]:8080"), true),
            ("https://${a}.example.com/x", json!("eu-1"), true),
            ("http://127.0.0.1:${a}/x", json!(8080), true),
            ("http://[::1]:${a}/x", json!("8080"), true),
            ("http://${a}:80/x", json!("[::1]"), true),
            ("https://${a}/x", json!("example.com/y"), false),
            ("https://${a}/x", json!("me@example.com"), false),
            ("https://${a}/x", json!(""), false),
            ("https://${a}/x", json!("example.com:"), false),
            ("https://${a}.example.com/x", json!("evil.com#"), false),
            ("https://${a}.example.com/x", json!("evil.com:1"), false),
            ("https://example.com${a}", json!("@evil.com"), false),
            ("https://example.com${a}", json!("/x"), false),
            ("http://127.0.0.1:${a}/x", json!("80@evil.com"), false),
            ("http://127.0.0.1:${a}/x", json!("80000"), false),
            ("http:/\\/\t/${a}/x", json!("a/b"), false),
            ("//${a}/x", json!("a/b"), false),
        ] {
            let filled = filled(template, value.clone());
            assert_eq!(!filled.starts_with("refused: ${a} stands"), is_taken, "{template} {value}: {filled}");
        }
    }

    #[test]
    fn a_segment_that_would_be_another_path_is_refused() {
        for (template, value) in [
            ("/x/${a}", json!("..")),
            ("/x/${a}/y", json!(".")),
            ("/x/.${a}?y", json!(".")),
            ("/x/%2E${a}#y", json!(".")),
            ("/x/${a}\n", json!("..")),
            ("/x/.\t${a} \n", json!(".")),
            ("/users/${a}", json!("")),
            ("/users/${a}", json!([])),
            ("/users/${a}", json!(["a", "..", "b"])),
            ("/users/${a}", json!([["a"]])),
        ] {
            let refused = filled(template, value.clone());
            assert!(refused.starts_with("refused: ${a} "), "{template} {value}: {refused}");
        }
        assert!(filled("/x?y=${a}", json!("é".repeat(20_000))).contains("longer than 65536 bytes"));
    }

    #[test]
    fn only_places_wrong_for_every_value_are_refused_in_advance() {
        for template in ["${a}", "${a}/b/${c}?${d}", "https://${a}:${b}/${c}", "https://h${a}", "/${a}/", "x/${a}"] {
            assert_eq!(check_code(template, Language::Url), Ok(()), "{template}");
        }
        for template in ["http${a}", "http:${a}", "https:/${a}/x"] {
            let problems = check_code(template, Language::Url).expect_err(template);
            assert_eq!(problems[0].0, template.find("${").expect("one"), "{template}");
        }
    }
}
