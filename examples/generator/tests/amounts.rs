//! Amounts that stand in two places of the facts agree with each other.

use sample_company::facts::{BILLS, PAY_APPLICATIONS, word};
use sample_company::money::{Bill, Money, PayApplication};

#[test]
fn pay_applications_carry_the_contract_sum_of_their_month() {
    for (key, sum) in [
        ("rc-1", "rc.revised1"),
        ("rc-2", "rc.revised1"),
        ("rc-3", "rc.revised2"),
        ("ms-1", "ms.sum"),
        ("ms-2", "ms.revised1"),
        ("ms-3", "ms.revised1"),
        ("ac-1", "ac.sum"),
    ] {
        assert_eq!(
            pay(key).map(|pay| pay.contract_sum.to_string()),
            word(sum),
            "{key}"
        );
    }
}

#[test]
fn the_final_invoice_repeats_the_change_orders_and_closes_the_account() {
    let amounts: Vec<Option<Money>> = vec![
        bill("ac-co-1").map(Bill::total),
        bill("ac-co-2").map(Bill::total),
    ];
    let lines: Vec<Option<Money>> = bill("ac-final")
        .into_iter()
        .flat_map(|bill| bill.items.iter().skip(1).take(2))
        .map(|item| Some(item.amount()))
        .collect();
    assert_eq!(lines, amounts);

    let earned = pay("ac-1").map_or(0, |pay| pay.earned().0);
    let last = bill("ac-final").map_or(0, |bill| bill.total().0);
    assert_eq!(Some(Money(earned + last).to_string()), word("ac.revised"));
}

fn bill(key: &str) -> Option<&'static Bill> {
    BILLS.iter().find(|bill| bill.key == key)
}

fn pay(key: &str) -> Option<&'static PayApplication> {
    PAY_APPLICATIONS.iter().copied().find(|pay| pay.key == key)
}
