//! Loads images for a model: from base64, a data URL, or a file below the folder that the provider names.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

/// An image as a workflow gives it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Source {
    Text(String),
    File { file: String },
}

/// An image as base64, with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) base64: String,
    pub(super) mime: &'static str,
}

/// Larger files are not read: a request carries at most 8 MiB.
const MAX_FILE_BYTES: u64 = 8 << 20;

impl Source {
    /// Loads the image. Reading a file blocks, so the caller should use a blocking thread.
    ///
    /// # Errors
    /// If it is not an image that a model can take, with the remedy.
    pub(super) fn load(self, folder: Option<&Path>) -> Result<Image, String> {
        let bytes = match self {
            Self::Text(text) => {
                let data = match text.strip_prefix("data:") {
                    None => text.as_str(),
                    Some(rest) => match rest.split_once(";base64,") {
                        Some((_, data)) => data,
                        None => return Err("is a data URL without `;base64,`".to_owned()),
                    },
                };
                decode(data)?
            }
            Self::File { file } => read(&file, folder)?,
        };
        let mime = kind(&bytes).ok_or("is not a PNG, JPEG, GIF or WebP image")?;
        Ok(Image { base64: STANDARD.encode(&bytes), mime })
    }
}

/// Decodes base64. White space is dropped, because base64 is often broken into lines.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(
            "is an address; fetch it with a task, or give it with `files` and `${files.NAME.base64}`".to_owned()
        );
    }
    let text: String = text.split_ascii_whitespace().collect();
    let decoded = STANDARD.decode(&text).or_else(|_| STANDARD_NO_PAD.decode(&text));
    decoded.map_err(|error| format!("is not base64 ({error}); use `${{files.NAME.base64}}`"))
}

fn read(name: &str, folder: Option<&Path>) -> Result<Vec<u8>, String> {
    let Some(folder) = folder else {
        return Err("is a file, but the provider has no folder of images: set `image_folder` in its options, or give \
                    the image with `files` and `${files.NAME.base64}`"
            .to_owned());
    };
    let failed = |what: &Path, error: &dyn std::fmt::Display| format!("`{}` cannot be read: {error}", what.display());
    let folder = folder.canonicalize().map_err(|error| failed(folder, &error))?;
    // Links are resolved before the location of the file is checked.
    let path: PathBuf = folder.join(name).canonicalize().map_err(|error| failed(Path::new(name), &error))?;
    if !path.starts_with(&folder) {
        return Err(format!("`{name}` is not below the provider's `image_folder`"));
    }
    let file = crate::regular::open(&path).map_err(|error| failed(Path::new(name), &error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed(Path::new(name), &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(format!("`{name}` is larger than {MAX_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

/// The type of an image by its first bytes, as the formats define them.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgo=";

    fn text(text: &str) -> Result<Image, String> {
        Source::Text(text.to_owned()).load(None)
    }

    #[test]
    fn base64_and_data_urls_become_the_same_image() {
        let image = text(PNG).expect("an image");
        assert_eq!((image.mime, image.base64.as_str()), ("image/png", PNG));
        for other in ["iVBO\n  Rw0KGgo=\n", "iVBORw0KGgo", "data:image/png;base64,iVBORw0KGgo="] {
            assert_eq!(text(other), Ok(image.clone()), "{other}");
        }
        assert_eq!(text("/9j/").expect("an image").mime, "image/jpeg");
    }

    #[test]
    fn data_that_is_not_an_image_is_refused_with_the_remedy() {
        for (given, said) in [
            ("https://example.com/cat.png", "is an address"),
            ("not base64!", "is not base64"),
            ("aGVsbG8=", "is not a PNG"),
            ("data:image/png,abc", "without `;base64,`"),
        ] {
            let error = text(given).expect_err("refused");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn files_are_read_below_the_folder_only() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("images");
        std::fs::create_dir(&folder).expect("made");
        let bytes = decode(PNG).expect("base64");
        std::fs::write(root.path().join("secret.png"), &bytes).expect("written");
        std::fs::write(folder.join("cat.png"), &bytes).expect("written");
        std::os::unix::fs::symlink("../secret.png", folder.join("link.png")).expect("linked");
        let load = |name: &str, folder| Source::File { file: name.to_owned() }.load(folder);
        assert_eq!(load("cat.png", Some(&folder)).expect("an image").base64, PNG);
        let absolute = root.path().join("secret.png");
        for outside in ["../secret.png", "link.png", absolute.to_str().expect("UTF-8")] {
            let error = load(outside, Some(&folder)).expect_err("refused");
            assert!(error.contains("is not below"), "{error}");
        }
        assert!(load(".", Some(&folder)).is_err());
        assert!(load("dog.png", Some(&folder)).expect_err("gone").contains("dog.png"));
        assert!(load("cat.png", None).expect_err("no folder").contains("image_folder"));
    }
}
