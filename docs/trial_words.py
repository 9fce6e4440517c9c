"""The sentences of the page of trials; what they claim of the results is held by `tests/test_trials_page.py`."""

BEFORE = """# Does the verdict predict training?

A gradient that goes back through n layers, or n steps of time, is multiplied by n Jacobians. If they shrink it,
what lies early is never told of its errors; if they stretch it, no step is small enough for what lies early and
large enough for what lies late. An architecture whose gradient vanishes or explodes should therefore not train, and
one can know that before training: it is what `leadline.gradient` and `leadline.reach` measure on untrained weights.

This page puts the argument to the test. Of each task models are judged as they are built, and then
trained, all for the same small budget, each at the learning rate that does best on validation. Where the verdict
predicts training, models stand in the same order before and after. It is made by `python docs/trials.py` from what
`python benchmarks/trials.py` left in `benchmarks/results`; `leadline trial TASK` does the same with other sizes.

| verdict | what it is | promises more where |
| --- | --- | --- |
| rate × depth | log growth of the gradient a layer or step, of the inner ones, times their number | it is near zero |
| growth | the same from end to end, with the first and the last ones | it is near zero |
| float16 ends | the layer or step at which a gradient of size 1 is lost in float16 | it is far beyond the depth |
| reach | the distance within which 99 % of an output's squared gradient lie | it is long beside the sequence |
| reach in float16 | the distance at which a gradient of size 1 is lost in float16 | it is far beyond the sequence |

The rank correlation is Spearman's: 1 where a verdict puts models in the order of their scores, 0 where it says
nothing, -1 where it puts them in the opposite order; what is equal shares a rank. In parentheses stands the
interval that drawing the seeds anew gives. Ranks count differences that chance made too. So all pairs of models are
gone through besides: a pair is told apart if the 95 % interval of the difference, over seeds, does not hold zero,
and those that a verdict and training both tell apart are ordered alike or they are not. A verdict *predicts*
training here if the whole interval of its rank correlation lies above one half. Beside the rank correlation with
the score stands that with the loss, of which less is better: 1 is agreement again. A loss may grow where the score
does not fall, since it counts how sure wrong answers are.

## What came out
"""

FATES = """## Does a vanishing gradient keep a model from learning?

Here models are counted by what `leadline` says of them: that a gradient vanishes, or explodes, if it changes by a
factor of 100 from end to end.
"""

READING = """## What there is to learn from it

**Through layers, a gradient that vanishes is final.** No stack whose gradient vanishes does better than chance, at
any of the rates. What mends it is to be seen in the same trial: a way past the layers, or a scale that keeps what
passes through them.

**One that explodes need not be.** A smaller learning rate gives much of it back, at the price of a slow beginning.
A verdict that takes both by their size promises the same of both, and is wrong about that.

**That a gradient keeps its size is not enough.** Stacks without skip connections, drawn so that nothing shrinks,
carry a gradient of the right size through twenty layers, and learn little. In theory that is because deep layers
make all inputs alike (Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, Deep information propagation, 2017): a
gradient then comes back, and says the same of every digit. The size of a gradient does not show it.

**Through time, the verdict on untrained gates is no verdict on trained ones.** A GRU as PyTorch draws it forgets
within a few steps: its gradient vanishes, and float16 would lose it on the way. It learns to add all the same. An
LSTM whose bias carries the gradient through the whole sequence does not, at the greater length and in this budget:
a memory that keeps everything has yet to learn what to keep. The GRU's gates are learnt too, and what little comes
through at first suffices to move them; the plain RNN, which has none, does as it was told. The verdict says how
training begins.

**Where nothing else helps, it holds through time too.** Copying over the longer way is learnt in nearly the order
of the verdicts: there the bias that keeps the state makes of an LSTM that fails one that succeeds. Over the shorter
way little is lost, and the order is the other one: what keeps everything learns more slowly.

**To reach is not to remember.** The state space reaches farther than attention, and recalls least; of the pairs
that the reach and training tell apart, none stands in one order. How far a gradient comes says nothing of how much
is told apart on the way. The rate puts these models nearly in the right order, and yet tells no two of them apart:
all of their gradients are sound, and what they can do is decided elsewhere.

**Of a text the same is true at once.** With residual connections every model learns more of it than any without,
whatever mixes its positions, and deeper ones without learn no more than how frequent each byte is. Of the pairs that
the rate and training tell apart one alone stands the other way round: among sound gradients the mixer decides, and
attention, which here is not told where a byte stands, comes last. The reach puts most pairs in the wrong order: who
mixes without a residual connection hears from farther away, and learns less.
"""

TASKS = {
    "bn-placement": """Batch normalisation stands at one of four places of a layer f: `plain` is BN(f(x)), `branch`
x + BN(f(x)), `before` x + f(BN(x)), `after` BN(x + f(x)). The first and the last stretch the gradient by a factor
at every layer; beside the other two it grows as a power of the depth, in theory as the same one. Digits are to be
named, a tenth of them by chance.

What is told apart stands in the same order before training and after. The rank correlation is smaller at the
greater depth because `branch` and `before` change places there, whose rates the seeds do not tell apart. A rate
leaves out the first and the last tenth of the layers, where a power law does most of its work; growth from end to
end counts them, and puts these two as training does.""",
    "residual": """Layers of two matrices with a ReLU between them, drawn so that they keep the size of what passes
through: x + s·f(x) with a skip connection, s·f(x) without one, at three scales s. Digits again, so that the task is
easy, and whatever is not learnt is the architecture's fault.""",
    "adding": """Each step brings a number and a mark. Two numbers are marked, one in either half of the sequence,
and their sum is to be said at the end. The score is the share of the sum's variance that is explained: nothing for
who always says 1. `forget_bias` is added to the gate by which a GRU or an LSTM keeps its state; at 3 it keeps all
but a twentieth of it at each step.""",
    "copy": """Three symbols of eight are shown, then blanks, then three marks, at which they are to be said again.
Who remembers nothing is right once in eight times, and has a loss of ln 8. The recurrences are those of the task
before.""",
    "mqar": """Pairs of a key and a value are shown, and then the keys in another order, at each of which its value
is to be said (multi-query associative recall). Each layer mixes positions in one of three ways, after a convolution
of two taps by which a value can know its key: softmax attention, linear attention, whose memory is a matrix of
fixed size, and a diagonal state space, whose memory decays at fixed rates whatever it reads. One value in eight is
right by chance.""",
    "text": """English, from the help texts that come with Python: at every byte the next one is to be said. Who knows
nothing needs 8 bits for it, who knows how frequent each byte is about 4.7; the score is the share that is guessed
right. Positions are mixed as in the task before, by softmax attention, by a linear recurrence whose decay the input
chooses (`gated`), or by an LSTM; with residual connections past each mixer and each feed-forward net, or without. The
rate and the growth are those through layers, also where an LSTM steps through time within them.""",
}
