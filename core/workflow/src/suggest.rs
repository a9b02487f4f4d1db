//! Advice about names: what a misspelt word was probably meant to be, and which names there are.

/// At most this many candidates are compared, so that a file of many mistakes stays cheap.
const CANDIDATES: usize = 5_000;

/// The candidate that was probably meant, if one is close enough: at most a third of the word's length in edits
/// (transpositions count as one), ignoring case.
pub fn closest<I>(word: &str, candidates: I) -> Option<String>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let length = word.chars().count();
    if length > 100 {
        return None;
    }
    let allowed = (length / 3).max(1);
    let lower = word.to_lowercase();
    let mut best: Option<(usize, String)> = None;
    for candidate in candidates.into_iter().take(CANDIDATES) {
        let candidate = candidate.as_ref();
        // Bytes are at most four times the characters: a cheap test before the costly one.
        if candidate.len() > (length + allowed) * 4 || candidate.len() + allowed < length {
            continue;
        }
        let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
        if distance <= allowed && best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, candidate.to_owned()));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A "did you mean" hint with the candidate that was probably meant, as found by [`closest`].
pub fn did_you_mean<I>(word: &str, candidates: I) -> Option<String>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    closest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// At most ten names in backticks.
pub(crate) fn list<I>(names: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut names = names.into_iter();
    let mut shown: Vec<String> = names.by_ref().take(10).map(|name| format!("`{}`", name.as_ref())).collect();
    if names.next().is_some() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_suggested_only_if_it_is_close() {
        let words = ["tasks", "timeout", "name"];
        for (word, expected) in [
            ("task", Some("tasks")),
            ("takss", Some("tasks")),
            ("Timeout", Some("timeout")),
            ("timout", Some("timeout")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(closest(word, words).as_deref(), expected, "{word}");
        }
    }
}
