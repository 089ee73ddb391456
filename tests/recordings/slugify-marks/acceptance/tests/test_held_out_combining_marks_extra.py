# Not upstream's: cases that follow from requirement.md and that the tests of python-slugify 9.2.0 leave out. No agent ever sees them.
import unittest

from slugify import slugify


def modern(text, **options):
    return slugify(text, allow_unicode=True, algorithm='modern', **options)


class CombiningMarkRuleTests(unittest.TestCase):
    def check(self, cases):
        for text, options, expected in cases:
            with self.subTest(text=ascii(text), options=options):
                self.assertEqual(modern(text, **options), expected)

    def test_a_cut_right_after_a_joiner_drops_it(self):
        self.check((
            ('\u0d9a\u0dca\u200d\u0dc2\u0dab', {'max_length': 3}, '\u0d9a\u0dca'),
            ('\u0d9a\u0dca\u200d\u0dc2\u0dab', {'max_length': 4}, '\u0d9a\u0dca\u200d\u0dc2'),
            ('\u0d9a\u0dca\u200d\u0dc2\u0dab', {'max_length': 3, 'word_boundary': True}, '\u0d9a\u0dca'),
            ('ab \u0d9a\u0dca\u200d\u0dc2\u0dab', {'max_length': 6}, 'ab-\u0d9a\u0dca'),
        ))

    def test_joiners_next_to_marks_and_in_rows(self):
        self.check((
            ('a\u200d\u0301b', {}, 'a\u200d\u0301b'),
            ('a\u200d\u200db', {}, 'a-b'),
            ('a\u200d\u200cb', {}, 'a-b'),
            ('a\u200d\ufe0fb', {}, 'a-b'),
            ('\U0001f468\u200d\U0001f469 x', {}, 'x'),
        ))

    def test_variation_selectors_and_enclosing_marks_separate(self):
        self.check((
            ('a\ufe0fb', {}, 'a-b'),
            ('a\U000e0100b', {}, 'a-b'),
            ('a\ufe0f\u0316b', {}, 'a-b'),
            ('\u0915\u20dd\u0916', {}, '\u0915-\u0916'),
        ))

    def test_marks_from_references_normalization_and_lower_casing(self):
        self.check((
            ('&#2361;&#2367;&#2344;', {}, '\u0939\u093f\u0928'),
            ('a\u00b4b', {}, 'a-b'),
            ('a_\u0316b', {}, 'a-b'),
            ('\u0130zmir', {}, 'i\u0307zmir'),
        ))
