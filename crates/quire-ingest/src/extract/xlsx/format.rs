//! How a number looks in its cell: as a date, a percentage, an amount, or itself.
//!
//! Format codes are ECMA-376 part 1, §18.8.30 and §18.8.31. Only what changes the meaning for a reader is
//! followed: dates, percent signs, currencies, groups of thousands and decimals.

use std::collections::HashMap;

use chrono::{Duration, NaiveDate, NaiveDateTime};
use quick_xml::events::Event;

use super::super::error::ExtractError;
use super::super::xml;

/// The last day that spreadsheets know, 9999-12-31.
const LAST_DAY: f64 = 2_958_466.0;

/// The formats that cells refer to by the number of their style.
pub(super) struct Formats {
    starts_1904: bool,
    styles: Vec<Look>,
}

/// What a format code makes of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Plain,
    Date,
    DateTime,
    Time,
    Percent {
        decimals: usize,
    },
    Amount {
        symbol: String,
        is_behind: bool,
        groups: bool,
        decimals: usize,
    },
}

impl Formats {
    pub(super) fn new(starts_1904: bool) -> Self {
        Self {
            starts_1904,
            styles: Vec::new(),
        }
    }

    /// Reads the part with styles.
    pub(super) fn read(&mut self, part: &str) -> Result<(), ExtractError> {
        let mut reader = xml::reader(part);
        let mut codes: HashMap<u32, String> = HashMap::new();
        let mut in_cells = false;
        loop {
            match xml::next(&mut reader)? {
                Event::Start(element) => {
                    let number = |name: &str| -> Option<u32> {
                        xml::attribute(&element, name)?.parse().ok()
                    };
                    match element.local_name().as_ref() {
                        "numFmt" => {
                            let code = xml::attribute(&element, "formatCode");
                            if let (Some(id), Some(code)) = (number("numFmtId"), code) {
                                codes.insert(id, code.into_owned());
                            }
                        }
                        "cellXfs" => in_cells = true,
                        "xf" if in_cells => {
                            let id = number("numFmtId").unwrap_or(0);
                            let own = codes.get(&id).map(String::as_str);
                            let code = own.or_else(|| built_in(id)).unwrap_or("General");
                            self.styles.push(look(code));
                        }
                        _ => {}
                    }
                }
                Event::End(element) if element.local_name().as_ref() == "cellXfs" => {
                    in_cells = false;
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }

    /// The number in a cell of this style, as a person sees it.
    pub(super) fn show(&self, style: usize, value: &str) -> String {
        let Ok(number) = value.parse::<f64>() else {
            return value.to_owned();
        };
        match self.styles.get(style).unwrap_or(&Look::Plain) {
            Look::Plain => plain(number),
            Look::Date => self.moment(number, "%Y-%m-%d"),
            Look::DateTime => self.moment(number, "%Y-%m-%d %H:%M"),
            Look::Time => self.moment(number.fract(), "%H:%M"),
            Look::Percent { decimals } => format!("{:.decimals$}%", number * 100.0),
            Look::Amount {
                symbol,
                is_behind,
                groups,
                decimals,
            } => {
                let digits = format!("{:.decimals$}", number.abs());
                let digits = if *groups { grouped(&digits) } else { digits };
                let sign = if number < 0.0 { "-" } else { "" };
                if *is_behind {
                    format!("{sign}{digits} {symbol}")
                } else {
                    format!("{sign}{symbol}{digits}")
                }
            }
        }
    }

    /// Days since the last day of 1899: spreadsheets believe that 1900 had a February 29, so days before
    /// March 1900 are one off, and nobody means them.
    fn moment(&self, days: f64, form: &str) -> String {
        let start = if self.starts_1904 {
            NaiveDate::from_ymd_opt(1904, 1, 1)
        } else {
            NaiveDate::from_ymd_opt(1899, 12, 30)
        };
        let start: Option<NaiveDateTime> = start.and_then(|day| day.and_hms_opt(0, 0, 0));
        if !(0.0..LAST_DAY).contains(&days) {
            return plain(days);
        }
        // Less than 10^12, so no bit is lost.
        let seconds = (days * 86_400.0).round() as i64;
        let moment = start.and_then(|start| start.checked_add_signed(Duration::seconds(seconds)));
        moment.map_or_else(|| plain(days), |moment| moment.format(form).to_string())
    }
}

/// A number without the noise of binary fractions.
fn plain(number: f64) -> String {
    let short = format!("{number:.10}");
    let short = short.trim_end_matches('0').trim_end_matches('.');
    if number.abs() < 1e15 && !matches!(short, "0" | "-0") {
        short.to_owned()
    } else {
        format!("{number}")
    }
}

fn grouped(digits: &str) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// Codes that are known by number and stand in no file.
fn built_in(id: u32) -> Option<&'static str> {
    Some(match id {
        1 => "0",
        2 => "0.00",
        3 | 37 | 38 => "#,##0",
        4 | 39 | 40 => "#,##0.00",
        5 | 6 => "\"$\"#,##0",
        7 | 8 => "\"$\"#,##0.00",
        9 => "0%",
        10 => "0.00%",
        14..=17 => "yyyy-mm-dd",
        18..=21 | 45..=47 => "h:mm",
        22 => "yyyy-mm-dd h:mm",
        42 => "\"$\"#,##0",
        44 => "\"$\"#,##0.00",
        41 => "#,##0",
        43 => "#,##0.00",
        _ => return None,
    })
}

fn look(code: &str) -> Look {
    // The first part is for positive numbers.
    let code = code.split(';').next().unwrap_or_default();
    let (letters, symbol) = bare(code);
    let has = |wanted: &[char]| letters.contains(wanted);
    let decimals = letters.split_once('.').map_or(0, |(_, after)| {
        after
            .chars()
            .take_while(|c| matches!(c, '0' | '#' | '?'))
            .count()
    });
    let decimals = decimals.min(10);
    let (has_day, has_clock) = (has(&['y', 'd']), has(&['h', 's']));
    match (has_day, has_clock) {
        (true, true) => return Look::DateTime,
        (true, false) => return Look::Date,
        (false, true) => return Look::Time,
        (false, false) => {}
    }
    if has(&['m']) && !letters.contains("general") {
        return Look::Date;
    }
    if has(&['%']) {
        return Look::Percent { decimals };
    }
    let groups = letters.contains("#,#") || letters.contains("0,0");
    if symbol.is_empty() && !groups && !letters.contains('.') {
        return Look::Plain;
    }
    let is_behind = match (code.find(symbol.as_str()), code.find(['0', '#'])) {
        (Some(symbol_at), Some(digits_at)) => !symbol.is_empty() && symbol_at > digits_at,
        _ => false,
    };
    Look::Amount {
        symbol,
        is_behind,
        groups,
        decimals,
    }
}

/// The letters of a code that steer it, in small, and the text it puts beside the number.
fn bare(code: &str) -> (String, String) {
    let (mut letters, mut symbol) = (String::new(), String::new());
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => symbol.extend(chars.by_ref().take_while(|c| *c != '"')),
            '[' => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                if let Some(currency) = inside.strip_prefix('$') {
                    symbol.push_str(currency.split('-').next().unwrap_or_default());
                } else if matches!(
                    inside.to_lowercase().as_str(),
                    "h" | "hh" | "m" | "mm" | "s"
                ) {
                    letters.push('h');
                }
            }
            '\\' => symbol.extend(chars.next()),
            // Room as wide as the next character, and that character until the cell is full.
            '_' | '*' => {
                chars.next();
            }
            '$' | '€' | '£' | '¥' => symbol.push(c),
            c => letters.extend(c.to_lowercase()),
        }
    }
    (letters, symbol.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_their_cells() {
        for (code, value, shown) in [
            ("General", "0.30000000000000004", "0.3"),
            ("General", "1248000", "1248000"),
            ("General", "1E-7", "0.0000001"),
            ("General", "-0.5", "-0.5"),
            ("General", "n/a", "n/a"),
            ("0%", "0.075", "8%"),
            ("0.0%", "0.075", "7.5%"),
            ("#,##0.00", "1248000", "1,248,000.00"),
            ("\"$\"#,##0.00", "-950.5", "-$950.50"),
            ("[$€-407] #,##0", "1234567", "€1,234,567"),
            ("#,##0.00\\ \"EUR\"", "12.5", "12.50 EUR"),
            (
                "_(\"$\"* #,##0.00_);_(\"$\"* \\(#,##0.00\\)",
                "684500",
                "$684,500.00",
            ),
            ("yyyy-mm-dd", "45826", "2025-06-18"),
            ("m/d/yy h:mm", "45826.5", "2025-06-18 12:00"),
            ("mmm", "45826", "2025-06-18"),
            ("h:mm AM/PM", "0.75", "18:00"),
            ("yyyy-mm-dd", "1e300", "1"),
        ] {
            let formats = Formats {
                starts_1904: false,
                styles: vec![look(code)],
            };
            let found = formats.show(0, value);
            assert!(found.starts_with(shown), "{code} {value}: {found}");
        }
    }
}
