use std::ffi::OsString;

use gleitzeit_protocols::yaml::FileKind;

use super::*;

fn settings(variables: &'static [(&'static str, &'static str)]) -> Settings {
    Settings::from_env(move |name| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    })
}

fn connection(text: &str) -> Result<Connection, Vec<String>> {
    let mut reader = Reader::new("x.yaml");
    let node = reader.parse(FileKind::Provider, text);
    let read = node.and_then(|node| read_connection(&mut reader, &node));
    reader.finish(read).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn authentication(text: &str) -> Result<Authentication, Vec<String>> {
    let mut reader = Reader::new("x.yaml");
    let node = reader.parse(FileKind::Provider, text);
    let read = node.and_then(|node| read_authentication(&mut reader, &node));
    reader.finish(read).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn a_connection_is_read_with_its_defaults() {
    let read = connection("base_url: http://localhost:11434/\n").expect("valid");
    assert_eq!(read.base_url, BaseUrl::Fixed("http://localhost:11434".to_owned()));
    assert_eq!((read.timeout, read.retries), (Duration::from_secs(60), 0));
    assert_eq!(read.health_check, HealthCheck::default());
    let text = "{base_url_env: URL, timeout: 5, retries: 2, health_check: {path: /health, timeout: 500ms}}";
    let read = connection(text).expect("valid");
    assert_eq!(read.health_check.path.as_deref(), Some("/health"));
    assert_eq!((read.retries, read.health_check.timeout), (2, Duration::from_millis(500)));
    assert!(!connection("{base_url: 'http://a', health_check: false}").expect("valid").health_check.enabled);
}

#[test]
fn an_invalid_connection_is_reported_with_place_and_remedy() {
    for (text, expected) in [
        ("timeout: 5", "x.yaml:1:1: `base_url` is missing"),
        ("base_url: localhost:11434", "x.yaml:1:11: `base_url` must begin with http"),
        ("base_url: http://me:secret@host", "use `authentication`"),
        ("base_url: http://host?x=1", "must end before `?`"),
        ("{base_url: 'http://a', base_url_env: A}", "keep one"),
        ("{base_url: 'http://a', retries: 11}", "between 0 and 10"),
        ("{base_url: 'http://a', retries: many}", "expected a number for `retries`"),
        ("{base_url: 'http://a', health_check: {path: health}}", "is not a path"),
        ("{base_url: 'http://a', bse: 1}", "unknown field `bse`"),
        ("base_url_env: sk-12345", "never the secret itself"),
    ] {
        let told = connection(text).expect_err(text).join("\n");
        assert!(told.contains(expected), "{text}: {told}");
        assert!(!told.contains("sk-12345"), "a secret is not repeated: {told}");
    }
}

#[test]
fn an_address_may_come_from_the_environment() {
    let url = BaseUrl::Variable("SERVER".to_owned());
    assert_eq!(url.resolve(&settings(&[("SERVER", "http://host:1/v1/")])).expect("set"), "http://host:1/v1");
    let unset = url.resolve(&settings(&[])).expect_err("unset");
    assert!(unset.contains("environment variable SERVER"), "{unset}");
    let wrong = url.resolve(&settings(&[("SERVER", "host")])).expect_err("no address");
    assert!(wrong.contains("SERVER is no address"), "{wrong}");
}

#[test]
fn every_scheme_makes_its_header() {
    let environment = settings(&[("KEY", " s3cret\n")]);
    for (text, name, value) in [
        ("{type: bearer, env: KEY}", "authorization", "Bearer s3cret"),
        ("{type: header, header: X-Api-Key, env: KEY}", "x-api-key", "s3cret"),
        ("{type: basic, username: me, env: KEY}", "authorization", "Basic bWU6czNjcmV0"),
    ] {
        let header = authentication(text).expect("valid").header(&environment).expect("a secret").expect("a header");
        assert_eq!((header.0.as_str(), header.1.as_str()), (name, value));
    }
    assert_eq!(authentication("type: none").expect("valid").header(&environment), Ok(None));
}

#[test]
fn a_secret_comes_from_a_file_and_may_be_missing_only_if_optional() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    let text = format!("{{type: bearer, file: '{}'}}", path.display());
    let read = authentication(&text).expect("valid");
    let missing = read.header(&settings(&[])).expect_err("no file");
    assert!(missing.contains("cannot be read"), "{missing}");
    std::fs::write(&path, "from file\n").expect("written");
    assert_eq!(read.header(&settings(&[])).expect("there").expect("a header").1, "Bearer from file");
    let mut beside = Reader::new(folder.path().join("provider.yaml").display().to_string());
    let node = beside.parse(FileKind::Provider, "{type: bearer, file: key}").expect("YAML");
    let read = read_authentication(&mut beside, &node).expect("valid");
    assert_eq!(read.header(&settings(&[])).expect("there").expect("a header").1, "Bearer from file");
    std::fs::write(&path, "two\nlines").expect("written");
    assert!(read.header(&settings(&[])).is_err());
    let optional = authentication("{type: bearer, env: KEY, optional: true}").expect("valid");
    assert_eq!(optional.header(&settings(&[])), Ok(None));
    let needed = authentication("{type: bearer, env: KEY}").expect("valid").header(&settings(&[])).expect_err("unset");
    assert!(needed.contains("KEY is not set"), "{needed}");
}

#[test]
fn an_invalid_authentication_is_reported_with_its_remedy() {
    for (text, expected) in [
        ("env: KEY", "`type` is missing"),
        ("{type: berer, env: KEY}", "did you mean `bearer`?"),
        ("type: bearer", "does not name a secret"),
        ("{type: bearer, env: KEY, file: key}", "keep one"),
        ("{type: header, env: KEY}", "`header` is missing"),
        ("{type: header, header: 'a b', env: KEY}", "is not the name of a header"),
        ("{type: bearer, token: sk-12345}", "unknown field `token`"),
        ("{type: bearer, env: KEY, optional: 1}", "expected true or false"),
    ] {
        let told = authentication(text).expect_err(text).join("\n");
        assert!(told.contains(expected), "{text}: {told}");
        assert!(!told.contains("sk-12345"), "a secret is not repeated: {told}");
    }
}
