use super::*;
use crate::compose::samples::english;
use crate::fragment::{Column, Fragment, ImageKind, Note, Table};

const DIRTY: &str = "<b>\0\u{202e}x\r\nBcc: evil@example.net";
const CLEAN: &str = "<b>␀[U+202E]x\nBcc: evil@example.net";
const LINE: &str = "<b>␀[U+202E]x⏎Bcc: evil@example.net";

fn ready(blocks: Vec<fragment::Block>) -> Vec<Block> {
    Ready::of(Fragment { blocks, ..Fragment::default() }, &english()).blocks
}

fn one(block: fragment::Block) -> Block {
    ready(vec![block]).remove(0)
}

fn note(text: &str) -> Note {
    Note { tone: Tone::Danger, text: text.to_owned() }
}

fn table(columns: usize, rows: &[&str]) -> Table {
    let column = Column { name: DIRTY.to_owned(), right: true };
    let rows = rows.iter().map(|cell| vec![(*cell).to_owned(); columns]).collect();
    Table { columns: vec![column; columns], rows, total: None }
}

fn grid_of(table: Table) -> Grid {
    let Block::Table(grid) = one(fragment::Block::Table(table)) else { panic!("no table") };
    grid
}

#[test]
fn every_text_is_cleaned() {
    let image =
        Image { kind: ImageKind::Png, data: Vec::new(), alternative: DIRTY.to_owned(), width: 0, height: 5_000 };
    let bar = fragment::Bar { label: DIRTY.to_owned(), value: 1.0, text: DIRTY.to_owned(), tone: Tone::Good };
    let (clean, line) = (CLEAN.to_owned(), LINE.to_owned());
    let fact = Fact {
        label: line.clone(),
        values: vec![Value { text: clean.clone(), ..Value::default() }],
        ..Fact::default()
    };
    for (given, shown) in [
        (fragment::Block::Heading(DIRTY.to_owned()), Block::Heading { text: line.clone() }),
        (fragment::Block::Paragraph(DIRTY.to_owned()), Block::Paragraph { text: clean.clone() }),
        (
            fragment::Block::Facts(vec![(DIRTY.to_owned(), DIRTY.to_owned())]),
            Block::Facts { facts: vec![fact], showing: String::new() },
        ),
        (
            fragment::Block::Code { caption: DIRTY.to_owned(), text: DIRTY.to_owned() },
            Block::Code { caption: line.clone(), text: clean.clone() },
        ),
        (
            fragment::Block::Bars(fragment::Bars { caption: DIRTY.to_owned(), maximum: 3.0, items: vec![bar] }),
            Block::Bars {
                caption: line.clone(),
                bars: vec![Bar { label: line.clone(), percent: 33, text: line.clone(), tone: Tone::Good }],
                showing: String::new(),
            },
        ),
        (fragment::Block::Badge(note(DIRTY)), Block::Badge { tone: Tone::Danger, text: line.clone() }),
        (fragment::Block::Note(note(DIRTY)), Block::Note { tone: Tone::Danger, text: clean.clone() }),
        (fragment::Block::Image(image), Block::Image { url: None, alternative: line.clone(), width: 1, height: 1_200 }),
    ] {
        assert_eq!(one(given), shown);
    }
    let grid = grid_of(table(2, &[DIRTY]));
    assert_eq!((grid.columns, grid.rows, grid.right), (vec![line; 2], vec![vec![clean; 2]], vec![true; 2]));
    let title = Ready::of(Fragment { title: DIRTY.to_owned(), ..Fragment::default() }, &english()).title;
    assert_eq!(title, LINE);
}

#[test]
fn what_is_too_long_is_cut_and_what_is_too_many_is_said() {
    let long = "é".repeat(30_000);
    for (given, limit) in [
        (fragment::Block::Heading(long.clone()), 300),
        (fragment::Block::Paragraph(long.clone()), 4_000),
        (fragment::Block::Code { caption: String::new(), text: long.clone() }, 20_000),
        (fragment::Block::Badge(note(&long)), 300),
        (fragment::Block::Note(note(&long)), 2_000),
    ] {
        let (Block::Heading { text }
        | Block::Paragraph { text }
        | Block::Code { text, .. }
        | Block::Badge { text, .. }
        | Block::Note { text, .. }) = one(given)
        else {
            panic!("another kind")
        };
        assert_eq!(text, format!("{}…", "é".repeat(limit)));
    }
    let fact = (long.clone(), long.clone());
    let Block::Facts { facts, showing } = one(fragment::Block::Facts(vec![fact; 250])) else { panic!("no facts") };
    assert_eq!((facts.len(), showing.as_str()), (200, "(Showing 200 of 250 facts)"));
    assert_eq!((facts[0].label.chars().count(), facts[0].values[0].text.chars().count()), (301, 2_001));

    let bar = fragment::Bar { value: 1.0, ..fragment::Bar::default() };
    let chart = fragment::Bars { caption: String::new(), maximum: 1.0, items: vec![bar; 120] };
    let Block::Bars { bars, showing, .. } = one(fragment::Block::Bars(chart)) else { panic!("no bars") };
    assert_eq!((bars.len(), showing.as_str()), (100, "(Showing 100 of 120 bars)"));

    let grid = grid_of(table(40, &["x"; 600]));
    assert_eq!((grid.columns.len(), grid.hidden_columns, grid.rows.len(), grid.total), (31, 10, 500, 600));
    assert_eq!((grid.showing.as_str(), grid.rows[0][30].as_str()), ("(Showing 500 of 600 rows)", "…"));
    let grid = grid_of(Table { total: Some(1_000), ..table(1, &[&long, "y"]) });
    assert_eq!((grid.rows[0][0].chars().count(), grid.showing.as_str()), (2_001, "(Showing 2 of 1000 rows)"));

    let blocks = ready(vec![fragment::Block::Paragraph("x".to_owned()); 250]);
    assert_eq!(blocks.len(), 201);
    assert_eq!(blocks[200], Block::Paragraph { text: "(Showing 200 of 250 blocks)".to_owned() });

    let given = rule::PluginNote { plugin: "ioc".to_owned(), tone: Tone::Good, text: DIRTY.to_owned() };
    let notes = notes(&vec![given; 60], &english());
    assert_eq!((notes.len(), notes[0].text.as_str()), (51, CLEAN));
    assert_eq!(notes[50].text, "(Showing 50 of 60 notes)");
}

#[test]
fn what_has_nothing_to_show_is_no_block() {
    let blocks = vec![
        fragment::Block::Heading(" ".to_owned()),
        fragment::Block::Paragraph("\n".to_owned()),
        fragment::Block::Facts(Vec::new()),
        fragment::Block::Table(Table::default()),
        fragment::Block::Code { caption: String::new(), text: "\n\n".to_owned() },
        fragment::Block::Bars(fragment::Bars::default()),
        fragment::Block::Badge(Note::default()),
        fragment::Block::Note(Note::default()),
    ];
    assert!(ready(blocks).is_empty());
}

#[test]
fn rows_are_as_long_as_the_columns_and_trees_stay_tables() {
    let mut short = table(3, &["x"]);
    short.rows[0].truncate(1);
    short.rows.push(vec!["y".to_owned(); 9]);
    let grid = grid_of(short);
    assert!(grid.rows.iter().all(|row| row.len() == 3), "{:?}", grid.rows);
    let command = "c".repeat(200);
    let tree =
        Table { rows: vec![vec!["a".to_owned(), command.clone()], vec!["  b".to_owned(), command]], ..table(2, &[]) };
    let grid = grid_of(tree);
    assert_eq!((grid.tree, grid.layout, grid.rows[1][0].as_str()), (true, Layout::Wide, "  b"));
    assert!(!grid_of(table(1, &["x"])).tree);
}

#[test]
fn bars_are_between_nothing_and_full_whatever_a_plugin_computes() {
    for (value, maximum, shown) in [
        (0.0, 1.0, 0),
        (0.000_1, 1.0, 1),
        (0.5, 1.0, 50),
        (1.0, 1.0, 100),
        (9.0, 1.0, 100),
        (-1.0, 1.0, 0),
        (1.0, 0.0, 100),
        (0.0, 0.0, 0),
        (f64::NAN, 1.0, 0),
        (f64::INFINITY, f64::INFINITY, 0),
    ] {
        assert_eq!(percent(value, maximum), shown, "{value} of {maximum}");
    }
}

#[test]
fn the_estimate_is_on_the_high_side() {
    let templates = crate::compose::templates::Templates::load(None, &[]).unwrap();
    let render = |view: &crate::compose::view::View| {
        templates
            .render(
                "flow-completion",
                crate::compose::templates::Slot::Html,
                &crate::compose::templates::Seen::of(view),
            )
            .unwrap()
            .len()
    };
    let empty = render(&crate::compose::view::View::default());
    let nasty = ["<>\"'& \t\n".repeat(100), " ".repeat(900) + "x", "a.".repeat(1_000), "é".repeat(1_000)];
    for text in nasty {
        let columns = vec![text.clone(); 3];
        let mut grids = Vec::new();
        for layout in [Layout::Narrow, Layout::Wide, Layout::Record] {
            let rows = vec![columns.clone(); 40];
            grids.push(Block::Table(Grid {
                columns: columns.clone(),
                right: vec![true; 3],
                rows,
                layout,
                ..Grid::default()
            }));
        }
        let fact = Fact {
            label: text.clone(),
            values: vec![Value { text: text.clone(), ..Value::default() }],
            ..Fact::default()
        };
        let bar = Bar { label: text.clone(), percent: 50, text: text.clone(), tone: Tone::Good };
        grids.push(Block::Facts { facts: vec![fact; 40], showing: String::new() });
        grids.push(Block::Bars { caption: text.clone(), bars: vec![bar; 40], showing: String::new() });
        grids.push(Block::Code { caption: text.clone(), text: text.clone() });
        grids.push(Block::Note { tone: Tone::Danger, text: text.clone() });
        grids.push(Block::Badge { tone: Tone::Danger, text: text.clone() });
        grids.push(Block::Heading { text: text.clone() });
        grids.push(Block::Paragraph { text });
        for block in grids {
            let estimate = cost(&block);
            let table = crate::compose::view::Table { blocks: vec![block], ..Default::default() };
            let view = crate::compose::view::View { results: vec![table], ..Default::default() };
            let real = render(&view) - empty;
            // The section around all blocks of a source is paid for separately.
            assert!(real <= estimate + 1_024, "{real} octets, estimated {estimate}: {:.300}", format!("{view:?}"));
        }
    }
}
