//! Here-documents. The line that ends one is found before its text is read.

use super::commands::Here;
use super::lexer::{Frame, Lexer, VALUE, is_backquotes};
use super::refusal::{Lost, Refusal};

impl Lexer<'_> {
    /// Reads `<<` and the delimiter.
    pub(super) fn announce(&mut self) -> Result<(), Lost> {
        self.at += 2;
        let strips = self.peek(0) == Some(b'-');
        self.at += usize::from(strips);
        while matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        let mut here = Here { delimiter: Vec::new(), quoted: false, strips };
        let mut quote = None;
        loop {
            let byte = self.peek(0);
            match (byte, quote) {
                (Some(VALUE), _) => {
                    self.refuse(Refusal::Delimiter);
                    return Err(Lost("a here-document whose delimiter is not known"));
                }
                (None, Some(_)) | (Some(b'$' | b'`' | b'\r'), _) | (Some(b'\n'), Some(_)) => {
                    return Err(Lost("the delimiter of a here-document"));
                }
                (Some(b'\\'), Some(b'"')) => return Err(Lost("the delimiter of a here-document")),
                (Some(byte), Some(open)) if byte == open => quote = None,
                (Some(byte), Some(_)) => here.delimiter.push(byte),
                (Some(byte @ (b'\'' | b'"')), None) => {
                    here.quoted = true;
                    quote = Some(byte);
                }
                (Some(b'\\'), None) => {
                    here.quoted = true;
                    self.at += 1;
                    match self.peek(0).filter(|byte| !matches!(*byte, b'\n' | VALUE)) {
                        Some(byte) => here.delimiter.push(byte),
                        None => return Err(Lost("the delimiter of a here-document")),
                    }
                }
                (None, None) => break,
                (Some(byte), None) if b" \t\n;&|()<>".contains(&byte) => break,
                (Some(byte), None) => here.delimiter.push(byte),
            }
            self.at += 1;
        }
        if here.delimiter.is_empty() || self.frames.iter().any(is_backquotes) {
            return Err(Lost("a here-document without a delimiter, or in backquotes"));
        }
        self.commands()?.announce(here);
        self.pending += 1;
        Ok(())
    }

    /// Begins the texts of here-documents.
    pub(super) fn documents(&mut self, mut documents: Vec<Here>) -> Result<(), Lost> {
        while !documents.is_empty() {
            let here = documents.remove(0);
            let (end, after) = self.find_end(&here)?;
            if here.quoted {
                self.refuse_all(self.at, end, Refusal::QuotedDocument);
                self.at = after;
            } else {
                self.frames.push(Frame::Document(after, documents));
                self.ends.push(end);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The offsets of the line with the delimiter and of the line after it.
    fn find_end(&mut self, here: &Here) -> Result<(usize, usize), Lost> {
        let limit = self.ends.last().copied().unwrap_or(self.source.len());
        let nested = self.frames.len() > 1;
        let mut continued = false;
        let mut at = self.at;
        while at < limit {
            let end = self.source[at..limit].iter().position(|byte| *byte == b'\n').map_or(limit, |end| at + end);
            let mut line = &self.source[at..end];
            while let Some((b'\t', rest)) = line.split_first().filter(|_| here.strips || continued) {
                line = rest;
            }
            if continued && here.delimiter.ends_with(line) {
                return Err(Lost("a continued line that may be the delimiter of a here-document"));
            }
            if line == here.delimiter {
                return Ok((at, (end + 1).min(limit)));
            }
            if nested && line.starts_with(&here.delimiter) {
                return Err(Lost("a line that begins with the delimiter of a here-document"));
            }
            let backslashes = line.iter().rev().take_while(|byte| **byte == b'\\').count();
            continued = !here.quoted && backslashes % 2 == 1;
            at = end + 1;
        }
        self.at = self.source.len();
        Err(Lost("a here-document without its end"))
    }
}
