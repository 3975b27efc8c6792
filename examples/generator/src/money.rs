//! Amounts in cents, and the arithmetic that makes bills and pay applications add up.

use std::fmt;

/// An amount of dollars, kept in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money(pub i64);

impl Money {
    /// The part of this amount given in basis points (hundredths of a percent), to the nearest cent.
    pub const fn share(self, basis_points: i64) -> Self {
        Self((self.0 * basis_points + 5_000).div_euclid(10_000))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let dollars = (self.0.abs() / 100).to_string();
        let cents = self.0.abs() % 100;
        write!(out, "{sign}${}.{cents:02}", thousands(&dollars))
    }
}

/// Puts a comma after each group of three digits.
pub fn thousands(digits: &str) -> String {
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// One line of a bill.
pub struct Item {
    /// What is bought.
    pub what: &'static str,
    /// How many units.
    pub quantity: i64,
    /// The unit the price is for.
    pub unit: &'static str,
    /// Price of one unit; negative for a credit.
    pub price: Money,
}

impl Item {
    /// Quantity times price.
    pub const fn amount(&self) -> Money {
        Money(self.quantity * self.price.0)
    }
}

/// A list of items with a total: a change order, an order, an invoice.
pub struct Bill {
    /// The name texts use.
    pub key: &'static str,
    /// The items, in order.
    pub items: &'static [Item],
    /// A share of the subtotal added at the end, in basis points, such as a tax or a markup.
    pub surcharge: Option<(&'static str, i64)>,
    /// The words in front of the total.
    pub total_label: &'static str,
}

impl Bill {
    /// The sum of the items.
    pub fn subtotal(&self) -> Money {
        Money(self.items.iter().map(|item| item.amount().0).sum())
    }

    /// The sum of the items and the surcharge.
    pub fn total(&self) -> Money {
        let subtotal = self.subtotal();
        let surcharge = self
            .surcharge
            .map_or(0, |(_, basis_points)| subtotal.share(basis_points).0);
        Money(subtotal.0 + surcharge)
    }

    /// The bill as a table in markup.
    pub fn table(&self) -> String {
        let mut rows = vec![
            "| Item | Quantity | Unit | Unit price | Amount |".to_owned(),
            "|---|---|---|---|---|".to_owned(),
        ];
        for item in self.items {
            let Item {
                what,
                quantity,
                unit,
                price,
            } = item;
            let quantity = thousands(&quantity.to_string());
            rows.push(format!(
                "| {what} | {quantity} | {unit} | {price} | {} |",
                item.amount()
            ));
        }
        if let Some((label, basis_points)) = self.surcharge {
            rows.push(format!("| Subtotal |  |  |  | {} |", self.subtotal()));
            rows.push(format!(
                "| {label} |  |  |  | {} |",
                self.subtotal().share(basis_points)
            ));
        }
        rows.push(format!(
            "| {} |  |  |  | {} |",
            self.total_label,
            self.total()
        ));
        rows.join("\n")
    }
}

/// A monthly pay application: the work done so far, less retainage and earlier payments.
pub struct PayApplication {
    /// The name texts use.
    pub key: &'static str,
    /// The pay application before this one.
    pub previous: Option<&'static PayApplication>,
    /// The contract sum with the change orders approved by then.
    pub contract_sum: Money,
    /// Work completed and materials stored to date.
    pub completed: Money,
    /// Retainage in basis points of the completed work.
    pub retainage_basis_points: i64,
    /// Retainage as the contract prints it.
    pub retainage_label: &'static str,
}

impl PayApplication {
    /// The amount held back so far.
    pub const fn retainage(&self) -> Money {
        self.completed.share(self.retainage_basis_points)
    }

    /// Completed work less retainage.
    pub const fn earned(&self) -> Money {
        Money(self.completed.0 - self.retainage().0)
    }

    /// What earlier applications already asked for.
    pub fn paid(&self) -> Money {
        self.previous.map_or(Money(0), PayApplication::earned)
    }

    /// What is due now.
    pub fn due(&self) -> Money {
        Money(self.earned().0 - self.paid().0)
    }

    /// The summary as a table in markup.
    pub fn table(&self) -> String {
        let left = Money(self.contract_sum.0 - self.earned().0);
        let label = self.retainage_label;
        let rows = [
            (
                "Contract sum to date, with approved change orders".to_owned(),
                self.contract_sum,
            ),
            (
                "Total completed and stored to date".to_owned(),
                self.completed,
            ),
            (
                format!("Retainage held, {label} of completed work"),
                self.retainage(),
            ),
            ("Total earned less retainage".to_owned(), self.earned()),
            ("Less previous payment applications".to_owned(), self.paid()),
            ("Current payment due".to_owned(), self.due()),
            ("Balance to finish, including retainage".to_owned(), left),
        ];
        let mut lines = vec![
            "| Summary line | Amount |".to_owned(),
            "|---|---|".to_owned(),
        ];
        lines.extend(
            rows.iter()
                .map(|(line, amount)| format!("| {line} | {amount} |")),
        );
        lines.join("\n")
    }
}
