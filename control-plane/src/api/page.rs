//! Paging of lists: page sizes and opaque page tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gleitzeit_proto::status;
use tonic::Status;

const DEFAULT: usize = 100;
const MOST: usize = 1_000;
/// The most bytes of list items in one answer. It keeps answers under 4 MiB, the default limit of gRPC clients.
pub(super) const ANSWER_BYTES: usize = 3 * 1024 * 1024 + 512 * 1024;

/// The page size to use for a request: 0 means 100, and 1,000 is the maximum.
pub(super) fn size(page_size: i32) -> Result<usize, Status> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MOST)),
        Err(_) => Err(status::malformed("page_size", "expected 0 (the default, 100) to 1,000")),
    }
}

/// The most values of one filter, or labels to filter by.
const MAX_FILTERS: usize = 32;

/// Refuses a filter with more than [`MAX_FILTERS`] values.
pub(super) fn limit_filter_values(field: &str, values: usize) -> Result<(), Status> {
    if values <= MAX_FILTERS {
        return Ok(());
    }
    Err(status::malformed(field, &format!("expected at most {MAX_FILTERS}, found {values}")))
}

/// A token that says where the next page begins. `of` names the list and its filters, so that the token cannot be used
/// for another list.
pub(super) fn token(of: &str, next: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}\n{next}", digest(of)))
}

/// Decodes a page token; `None` stands for the first page.
pub(super) fn read(of: &str, token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid =
        || status::malformed("page_token", "expected the `next_page_token` of the page before, all else unchanged");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let (list, next) = text.split_once('\n').ok_or_else(invalid)?;
    if list != digest(of) {
        return Err(invalid());
    }
    Ok(Some(next.to_owned()))
}

/// The leading items that fit into one answer: at least one, if there is any.
pub(super) fn fitting<T: prost::Message>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    // The field key and length prefix of each item.
    const KEY_BYTES: usize = 8;
    let mut bytes = 0;
    let fits = |item: &T| {
        let is_first = bytes == 0;
        bytes += item.encoded_len() + KEY_BYTES;
        is_first || bytes <= ANSWER_BYTES
    };
    items.into_iter().take_while(fits).collect()
}

/// Cuts one page out of a list that is read as a whole; also returns the token of the next page.
pub(super) fn slice<T: prost::Message>(
    items: impl ExactSizeIterator<Item = T>,
    of: &str,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<T>, String), Status> {
    let size = size(page_size)?;
    let from = match read(of, page_token)? {
        Some(next) => next.parse().map_err(|_| status::malformed("page_token", "it is malformed"))?,
        None => 0usize,
    };
    let total = items.len();
    let page = fitting(items.skip(from).take(size));
    let next = from + page.len();
    Ok((page, if next < total { token(of, &next.to_string()) } else { String::new() }))
}

fn digest(of: &str) -> String {
    use sha2::{Digest, Sha256};
    URL_SAFE_NO_PAD.encode(&Sha256::digest(of)[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_one_list() {
        let next = token("runs", "7");
        assert_eq!(read("runs", &next).expect("valid").as_deref(), Some("7"));
        assert!(read("tasks", &next).is_err());
        assert!(read("runs", "nonsense").is_err());
        assert_eq!(read("runs", "").expect("the first page"), None);
    }

    #[test]
    fn a_filter_has_few_values() {
        assert!(limit_filter_values("labels", 32).is_ok());
        let refused = limit_filter_values("labels", 2_000).expect_err("too many");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains("at most 32, found 2000"), "{}", refused.message());
    }

    #[test]
    fn pages_cover_a_list_once() {
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let (page, token) = slice(0..250u32, "all", 100, &next).expect("a page");
            seen.extend(page);
            next = token;
            if next.is_empty() {
                break;
            }
        }
        assert_eq!(seen, (0..250).collect::<Vec<_>>());
    }
}
